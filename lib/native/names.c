/*
 * Attributes of files whose folder was listed a moment ago, answered by the thread that took the request from the kernel.
 *
 * This libfuse cannot give attributes along with a listing, so that `ls -l` asks for those of each file, one after the other.
 * JavaScript gives them with the entries of a listing all the same: a stat whose device is not 0 (but a number by which it
 * knows the mount; the kernel never sees it) is complete. They are kept here for TTL, then getattr is JavaScript's again. It
 * takes single ones back when a file is opened.
 *
 * It stands between libfuse and fuse-native: `fuse_new` is found here first (native-notes.md), and is given operations of
 * which two are ours, which call fuse-native's.
 *
 * Who owns what: the list of mounts and their folders are under `lock`. A listing is filled by the main thread while the
 * thread that asked for it waits, and becomes a folder of the mount if nothing was taken back meanwhile.
 */
#include "system.h"

#if defined(__x86_64__)
enum { STAT = 144 };
#elif defined(__aarch64__)
enum { STAT = 128 };
#else
enum { STAT = 0 };      /* unknown: then nothing is kept */
#endif

enum {
  DEVICE = 0,           /* st_dev, of 8 bytes */
  GETATTR = 0,          /* places in struct fuse_operations, in pointers */
  READDIR = 26,
  OPERATIONS = 64,      /* more than any libfuse 2 has */
  FOLDERS = 4,
  MOST = 16384,         /* entries of a folder */
  TTL = 250             /* milliseconds */
};

typedef int (*fill_type)(void *, const char *, const void *, long);
typedef int (*getattr_type)(const char *, void *);
typedef int (*readdir_type)(const char *, void *, fill_type, long, void *);

struct entry {
  size_type name;       /* where it begins in `names` */
  word hash;
  int gone;
  byte stat[STAT + 8];
};

struct folder {
  char *path;           /* without a slash at its end */
  size_type length;
  char *names;
  struct entry *entries;
  word *slots;          /* by hash: the number of an entry, and 1 */
  word count, slot_count;
  size_type names_used, names_room, entries_room;
  double until;
};

struct mount {
  struct mount *next;
  void *user, *fuse;
  wide id;
  word version;         /* counts what was taken back */
  word turn;
  getattr_type getattr;
  readdir_type readdir;
  struct folder folders[FOLDERS];
};

struct filling {
  void *buffer;
  fill_type fill;
  struct mount *mount;
  struct folder folder;
  word version;
  int failed;
};

static union mutex lock;
static struct mount *mounts;
static void *(*context)(void);

static word hash_of(const char *name) {
  word hash = 2166136261u;
  for (; *name != 0; name++) hash = (hash ^ (byte)*name) * 16777619u;
  return hash;
}

static void clear_folder(struct folder *folder) {
  free(folder->path);
  free(folder->names);
  free(folder->entries);
  free(folder->slots);
  memset(folder, 0, sizeof *folder);
}

/* The mount whose request this thread is at. With the lock held. */
static struct mount *mount_here(void) {
  /* struct fuse_context: fuse, uid, gid, pid, private_data */
  void *user = ((void **)context())[3];
  struct mount *mount = mounts;
  while (mount != 0 && mount->user != user) mount = mount->next;
  return mount;
}

static struct mount *mount_of(wide id) {
  struct mount *mount = mounts;
  while (mount != 0 && mount->id != id) mount = mount->next;
  return mount;
}

/* With the lock held; NULL when it is not kept, or no longer. */
static struct entry *find(struct mount *mount, const char *path) {
  const char *slash = strrchr(path, '/');
  size_type length;
  word hash, nth, slot;
  if (slash == 0 || slash[1] == 0) return 0;
  length = (size_type)(slash - path);
  for (nth = 0; nth < FOLDERS; nth++) {
    struct folder *folder = &mount->folders[nth];
    if (folder->path == 0 || folder->length != length || memcmp(folder->path, path, length) != 0) continue;
    if (annexfs_now() > folder->until) {
      clear_folder(folder);
      return 0;
    }
    hash = hash_of(slash + 1);
    for (slot = hash % folder->slot_count; folder->slots[slot] != 0; slot = (slot + 1) % folder->slot_count) {
      struct entry *entry = &folder->entries[folder->slots[slot] - 1];
      if (entry->hash == hash && strcmp(folder->names + entry->name, slash + 1) == 0) return entry->gone ? 0 : entry;
    }
    return 0;
  }
  return 0;
}

static int getattr(const char *path, void *stat) {
  struct mount *mount;
  getattr_type next = 0;
  pthread_mutex_lock(&lock);
  mount = mount_here();
  if (mount != 0) {
    struct entry *entry = find(mount, path);
    next = mount->getattr;
    if (entry != 0) {
      memcpy(stat, entry->stat, STAT);
      next = 0;
    }
  }
  pthread_mutex_unlock(&lock);
  return next != 0 ? next(path, stat) : mount != 0 ? 0 : -5 /* EIO: there is no such mount any more */;
}

/* Room for twice as many as there are. Returns 0 when there is no memory for it. */
static int grow(void **room, size_type *count, size_type needed, size_type size) {
  size_type wanted = *count == 0 ? 64 : *count;
  void *more;
  if (needed <= *count) return 1;
  while (wanted < needed) wanted *= 2;
  more = realloc(*room, wanted * size);
  if (more == 0) return 0;
  *room = more;
  *count = wanted;
  return 1;
}

/* Called by the main thread, for each entry of a listing. */
static int fill(void *buffer, const char *name, const void *stat, long offset) {
  struct filling *filling = buffer;
  struct folder *folder = &filling->folder;
  size_type length = strlen(name) + 1;
  wide device = 0;
  if (stat != 0) memcpy(&device, (const byte *)stat + DEVICE, 8);
  if (device != 0 && !filling->failed) {
    if (folder->count == 0) {
      pthread_mutex_lock(&lock);
      filling->mount->id = device;
      filling->version = filling->mount->version;
      pthread_mutex_unlock(&lock);
    }
    if (folder->count >= MOST || !grow((void **)&folder->names, &folder->names_room, folder->names_used + length, 1) ||
        !grow((void **)&folder->entries, &folder->entries_room, folder->count + 1, sizeof(struct entry))) {
      filling->failed = 1;
    } else {
      struct entry *entry = &folder->entries[folder->count++];
      memset(entry, 0, sizeof *entry);
      entry->name = folder->names_used;
      entry->hash = hash_of(name);
      memcpy(entry->stat, stat, STAT);
      memcpy(folder->names + folder->names_used, name, length);
      folder->names_used += length;
    }
  }
  return filling->fill(filling->buffer, name, stat, offset);
}

/* The slots, and the path. Returns 0 when there is no memory. */
static int finish(struct folder *folder, const char *path) {
  size_type length = strlen(path);
  word nth;
  if (length > 0 && path[length - 1] == '/') length -= 1;
  folder->length = length;
  folder->slot_count = folder->count * 2 + 1;
  folder->path = malloc(length + 1);
  folder->slots = malloc(folder->slot_count * sizeof(word));
  if (folder->path == 0 || folder->slots == 0) return 0;
  memcpy(folder->path, path, length);
  folder->path[length] = 0;
  memset(folder->slots, 0, folder->slot_count * sizeof(word));
  for (nth = 0; nth < folder->count; nth++) {
    word slot = folder->entries[nth].hash % folder->slot_count;
    while (folder->slots[slot] != 0) slot = (slot + 1) % folder->slot_count;
    folder->slots[slot] = nth + 1;
  }
  folder->until = annexfs_now() + TTL;
  return 1;
}

/* With the lock held: in the place of an older listing of the folder, else of the oldest of all. */
static void keep(struct mount *mount, struct folder *folder) {
  struct folder *place = 0;
  word nth;
  for (nth = 0; nth < FOLDERS && place == 0; nth++) {
    struct folder *other = &mount->folders[nth];
    if (other->path != 0 && strcmp(other->path, folder->path) == 0) place = other;
  }
  if (place == 0) place = &mount->folders[mount->turn++ % FOLDERS];
  clear_folder(place);
  *place = *folder;
  memset(folder, 0, sizeof *folder);
}

static int readdir(const char *path, void *buffer, fill_type next, long offset, void *info) {
  struct filling filling;
  int result;
  memset(&filling, 0, sizeof filling);
  filling.buffer = buffer;
  filling.fill = next;
  pthread_mutex_lock(&lock);
  filling.mount = mount_here();
  pthread_mutex_unlock(&lock);
  if (filling.mount == 0) return -5;
  /* The mount stays while a request of it is under way: `annexfs_names_over` comes after the last one. */
  result = filling.mount->readdir(path, &filling, fill, offset, info);
  if (result == 0 && filling.folder.count > 0 && !filling.failed && finish(&filling.folder, path)) {
    pthread_mutex_lock(&lock);
    if (filling.version == filling.mount->version) keep(filling.mount, &filling.folder);
    pthread_mutex_unlock(&lock);
  }
  clear_folder(&filling.folder);
  return result;
}

static void remove_mount(void *fuse) {
  struct mount **at = &mounts;
  struct mount *mount;
  word nth;
  pthread_mutex_lock(&lock);
  while (*at != 0 && (*at)->fuse != fuse) at = &(*at)->next;
  mount = *at;
  if (mount != 0) *at = mount->next;
  pthread_mutex_unlock(&lock);
  if (mount == 0) return;
  for (nth = 0; nth < FOLDERS; nth++) clear_folder(&mount->folders[nth]);
  free(mount);
}

void annexfs_names_over(void *fuse) { remove_mount(fuse); }

/* A function of libfuse as it has been since `version`; plain dlsym may find the one of programs from before. */
static void *function_of(void *library, const char *name, const char *version) {
  void *(*versioned)(void *, const char *, const char *) = (void *(*)(void *, const char *, const char *))dlsym(0, "dlvsym");
  /* musl has no versions. */
  return versioned != 0 ? versioned(library, name, version) : dlsym(library, name);
}

/* In place of libfuse's: the same, with two operations that look here first. */
void *fuse_new(void *channel, void *arguments, const void *operations, size_type size, void *user) {
  void *library = dlopen("libfuse.so.2", LAZY);
  void *(*real)(void *, void *, const void *, size_type, void *);
  void *own[OPERATIONS];
  struct mount *mount;
  void *fuse;
  if (library == 0) return 0;
  real = (void *(*)(void *, void *, const void *, size_type, void *))function_of(library, "fuse_new", "FUSE_2.6");
  context = (void *(*)(void))function_of(library, "fuse_get_context", "FUSE_2.8");
  if (real == 0) return 0;
  mount = STAT == 0 || context == 0 || size > sizeof own || size <= READDIR * sizeof(void *) ? 0 : malloc(sizeof *mount);
  if (mount == 0) return real(channel, arguments, operations, size, user);
  memset(mount, 0, sizeof *mount);
  memcpy(own, operations, size);
  mount->user = user;
  mount->getattr = (getattr_type)own[GETATTR];
  mount->readdir = (readdir_type)own[READDIR];
  own[GETATTR] = (void *)getattr;
  own[READDIR] = (void *)readdir;
  pthread_mutex_lock(&lock);
  mount->next = mounts;
  mounts = mount;
  pthread_mutex_unlock(&lock);
  fuse = real(channel, arguments, own, size, user);
  /* Before anything is asked of it; NULL, as it still is, when it failed. */
  if (fuse == 0) remove_mount(0);
  else mount->fuse = fuse;
  return fuse;
}

/* What JavaScript calls (module.c), on its thread. */

/* Takes back what is kept of a path, and what a listing under way may bring of it. */
void annexfs_forget(double id, const char *path) {
  struct mount *mount;
  struct entry *entry;
  pthread_mutex_lock(&lock);
  mount = mount_of((wide)(long)id);
  if (mount != 0) {
    mount->version += 1;
    entry = find(mount, path);
    if (entry != 0) entry->gone = 1;
  }
  pthread_mutex_unlock(&lock);
}
