/*
 * Reads of cached bytes, answered by the thread that took the request from the kernel: no turn of the event loop.
 *
 * JavaScript decides. It grants an open file (by the handle number that the kernel sends along) after it has served some of
 * its reads from the cache itself, for a moment only, and takes the grant back as soon as anything is different: the file is
 * closed, its content turned out wrong, the mount ends, nobody reads. What is read here is noted down, and JavaScript
 * collects the notes, for readahead and for times of use. Whatever is not plainly right here (a piece that is absent or
 * damaged, the end of the file, no room for notes) is not answered, and goes to libfuse and so to JavaScript.
 *
 * The format of the cache is that of lib/cache/format.ts: the record of the piece is read for every read, since another
 * process may have evicted it, and each block is compared with its sum, seeded by that record. A file that is read in place
 * has no index, and its bytes are passed on as they are.
 *
 * Who owns what: `grants`, and `users`, `ended`, `removed` and the notes of each, are under `lock`. The descriptors are the grant's
 * own duplicates, closed when it has ended and its last user is done.
 */
#include "system.h"

enum {
  READ = 15,            /* FUSE_READ */
  REQUEST = 80,         /* fuse_in_header and fuse_read_in */
  HEADER = 16,          /* fuse_out_header */
  BLOCK = 16384,
  LONGEST = 131072,     /* fuse-native's mounts are asked for no more */
  RECORD = 16,
  HANDLES = 65536,
  STAT = 256,           /* more than struct stat of any machine */
  STAT_SIZE = 48,       /* st_size and st_mtim, on x86-64 and arm64 */
  STAT_TIME = 88,
  INDEX_AHEAD = 1048576,
  NOTES = 512           /* a power of two */
};

struct note { double offset, length, at; };

struct grant {
  int data, index;
  wide size, start, length, piece, stride, records, sums;
  word blocks, seed;
  double time;
  int users, ended, removed;
  word noted, told;
  struct note notes[NOTES];
};

struct annexfs_room {
  word header[4];
  word record[4];
  word sums[LONGEST / BLOCK + 2];
  byte bytes[LONGEST];
  byte blocks[LONGEST + 2 * BLOCK];
};

static union mutex lock;
static struct grant *grants[HANDLES];
static int (*status_of)(int, void *);
static double served;

struct annexfs_room *annexfs_room_make(void) {
  /* Only what is used of it is ever touched. */
  void *room = mmap(0, sizeof(struct annexfs_room), READ_WRITE, PRIVATE_ZEROS, -1, 0);
  return room == (void *)-1 ? 0 : room;
}

void annexfs_room_free(struct annexfs_room *room) {
  if (room != 0) munmap(room, sizeof *room);
}

static void discard(struct grant *grant) {
  close(grant->data);
  if (grant->index >= 0) close(grant->index);
  free(grant);
}

static int is_right_record(const struct grant *grant, word piece, const word *record) {
  word check = annexfs_mix(grant->seed ^ annexfs_mix(piece));
  word state = record[2] >> 24;
  if (state == 0 || state > 3) return 0;
  check = annexfs_mix(check ^ record[0]);
  check = annexfs_mix(check ^ record[1]);
  check = annexfs_mix(check ^ record[2]);
  return check == record[3];
}

/* Bytes [start, end) of a piece; 0 when they are not there or not right. */
static int read_part(const struct grant *grant, struct annexfs_room *room, word piece, wide start, wide end, byte *into) {
  wide size = grant->length - piece * grant->piece;
  wide from = start - start % BLOCK;
  wide to = (end + BLOCK - 1) / BLOCK * BLOCK;
  word first = (word)(from / BLOCK);
  size_type count, sums;
  byte *target;
  word seed, right[LONGEST / BLOCK + 2];
  if (size > grant->piece) size = grant->piece;
  if (to > size) to = size;
  count = (size_type)(to - from);
  sums = (count + BLOCK - 1) / BLOCK * 4;
  target = from == start && to == end ? into : room->blocks;
  if (pread(grant->index, room->record, RECORD, (long)(grant->records + piece * (wide)RECORD)) != RECORD) return 0;
  if (!is_right_record(grant, piece, room->record)) return 0;
  if (pread(grant->index, room->sums, sums, (long)(grant->sums + (piece * (wide)grant->blocks + first) * 4)) != (long)sums) return 0;
  if (pread(grant->data, target, count, (long)(piece * grant->stride + from)) != (long)count) return 0;
  seed = annexfs_piece_seed(grant->seed, piece, room->record[0]);
  annexfs_sums(seed + first, target, count, right);
  if (memcmp(right, room->sums, sums) != 0) return 0;
  if (target != into) memcpy(into, target + (start - from), (size_type)(end - start));
  return 1;
}

/* False when the file that is read in place is not what it was. */
static int is_as_it_was(const struct grant *grant) {
  union { byte bytes[STAT]; long aligned; } status;
  wide length;
  struct timespec time;
  if (status_of(grant->data, status.bytes) != 0) return 0;
  memcpy(&length, status.bytes + STAT_SIZE, sizeof length);
  memcpy(&time, status.bytes + STAT_TIME, sizeof time);
  return length == grant->length && (double)time.seconds * 1e3 + (double)time.nanoseconds / 1e6 == grant->time;
}

static int read_all(const struct grant *grant, struct annexfs_room *room, wide offset, size_type count) {
  wide at = grant->start + offset;
  wide end = at + count;
  byte *into = room->bytes;
  /* Looked at after the read: what was written before it shows by then. */
  if (grant->index < 0) return pread(grant->data, into, count, (long)at) == (long)count && is_as_it_was(grant);
  while (at < end) {
    word piece = (word)(at / grant->piece);
    wide base = piece * grant->piece;
    wide last = base + grant->piece < end ? base + grant->piece : end;
    if (!read_part(grant, room, piece, at - base, last - base, into)) return 0;
    into += last - at;
    at = last;
  }
  return 1;
}

/* The grant of a handle, with one more user; NULL when there is none, or it has no room for another note. */
static struct grant *take(wide handle) {
  struct grant *grant;
  if (handle >= HANDLES) return 0;
  pthread_mutex_lock(&lock);
  grant = grants[handle];
  if (grant != 0) {
    if (grant->ended || grant->noted - grant->told + (word)grant->users >= NOTES) grant = 0;
    else grant->users += 1;
  }
  pthread_mutex_unlock(&lock);
  return grant;
}

/* Notes what was read, if anything was. Returns 0 when the grant has ended meanwhile: then the read is JavaScript's. */
static int give_back(struct grant *grant, wide offset, size_type count) {
  int last, good;
  pthread_mutex_lock(&lock);
  good = count > 0 && !grant->ended;
  if (good) {
    struct note *note = &grant->notes[grant->noted++ % NOTES];
    note->offset = (double)(long)offset;
    note->length = (double)(long)count;
    note->at = annexfs_now();
    served += 1;
  }
  grant->users -= 1;
  last = grant->removed && grant->users == 0;
  pthread_mutex_unlock(&lock);
  if (last) discard(grant);
  return good;
}

int annexfs_read(int device, const byte *request, size_type length, struct annexfs_room *room) {
  const word *header = (const word *)request;
  const wide *body = (const wide *)(request + 40);
  struct grant *grant;
  wide offset;
  size_type count;
  struct part parts[2];
  if (length < REQUEST || header[1] != READ || room == 0) return 0;
  grant = take(body[0]);
  if (grant == 0) return 0;
  offset = body[1];
  count = (word)body[2];
  if (offset >= grant->size || count == 0) count = 0;
  else if (count > grant->size - offset) count = (size_type)(grant->size - offset);
  if (count == 0 || count > LONGEST || !read_all(grant, room, offset, count)) {
    give_back(grant, 0, 0);
    return 0;
  }
  room->header[0] = (word)(HEADER + count);
  room->header[1] = 0;
  memcpy(&room->header[2], request + 8, 8);
  parts[0].bytes = room->header;
  parts[0].length = HEADER;
  parts[1].bytes = room->bytes;
  parts[1].length = count;
  if (!give_back(grant, offset, count)) return 0;
  /* It fails only when nobody waits for it any more. */
  writev(device, parts, 2);
  return 1;
}

/* What JavaScript calls (module.c), all on its thread. */

/* The layout of a grant, in the order of native-part.ts. */
enum { SIZE, START, LENGTH, PIECE, STRIDE, RECORDS, SUMS, BLOCKS, SEED, TIME, LAYOUT };

int annexfs_layout_length(void) { return LAYOUT; }

static struct grant *grant_of(word handle) { return handle < HANDLES ? grants[handle] : 0; }

/* From now on no read is answered by it; what was noted is there to be collected until it is revoked. */
void annexfs_end(word handle) {
  struct grant *grant;
  pthread_mutex_lock(&lock);
  grant = grant_of(handle);
  if (grant != 0) grant->ended = 1;
  pthread_mutex_unlock(&lock);
}

void annexfs_revoke(word handle) {
  struct grant *grant;
  int last;
  pthread_mutex_lock(&lock);
  grant = grant_of(handle);
  last = grant != 0 && grant->users == 0;
  if (grant != 0) {
    grants[handle] = 0;
    grant->ended = 1;
    grant->removed = 1;
  }
  pthread_mutex_unlock(&lock);
  if (last) discard(grant);
}

/* An `index` below 0: the file is read in place. Returns 0 when that cannot be. */
int annexfs_grant(word handle, int data, int index, const double *layout) {
  struct grant *grant;
  if (handle == 0 || handle >= HANDLES) return 0;
  if (!annexfs_can_sum()) return 0;
#if defined(__x86_64__) || defined(__aarch64__)
  if (status_of == 0) status_of = (int (*)(int, void *))dlsym(0, "fstat");
#endif
  if (index < 0 && status_of == 0) return 0;
  annexfs_revoke(handle);
  grant = malloc(sizeof *grant);
  if (grant == 0) return 0;
  grant->data = fcntl(data, DUPLICATE, 0);
  grant->index = index < 0 ? -1 : fcntl(index, DUPLICATE, 0);
  grant->size = (wide)(long)layout[SIZE];
  grant->start = (wide)(long)layout[START];
  grant->length = (wide)(long)layout[LENGTH];
  grant->piece = (wide)(long)layout[PIECE];
  grant->stride = (wide)(long)layout[STRIDE];
  grant->records = (wide)(long)layout[RECORDS];
  grant->sums = (wide)(long)layout[SUMS];
  grant->blocks = (word)(long)layout[BLOCKS];
  grant->seed = (word)(long)layout[SEED];
  grant->time = layout[TIME];
  grant->users = 0;
  grant->ended = 0;
  grant->removed = 0;
  grant->noted = 0;
  grant->told = 0;
  if (grant->data < 0 || (index >= 0 && (grant->index < 0 || grant->piece == 0))) {
    if (grant->data >= 0) close(grant->data);
    if (grant->index >= 0) close(grant->index);
    free(grant);
    return 0;
  }
  /* Records and sums are small beside what they are of, and every read asks for some. */
  if (grant->index >= 0) posix_fadvise(grant->index, 0, INDEX_AHEAD, WILL_NEED);
  pthread_mutex_lock(&lock);
  grants[handle] = grant;
  pthread_mutex_unlock(&lock);
  return 1;
}

/* Moves up to `room` notes into `into`, three numbers each: offset, length, when. Returns how many. */
int annexfs_collect(word handle, double *into, word room) {
  struct grant *grant;
  word count = 0;
  pthread_mutex_lock(&lock);
  grant = grant_of(handle);
  while (grant != 0 && count < room && grant->told != grant->noted) {
    const struct note *note = &grant->notes[grant->told++ % NOTES];
    into[count * 3] = note->offset;
    into[count * 3 + 1] = note->length;
    into[count * 3 + 2] = note->at;
    count++;
  }
  pthread_mutex_unlock(&lock);
  return (int)count;
}

double annexfs_served(void) {
  double count;
  pthread_mutex_lock(&lock);
  count = served;
  pthread_mutex_unlock(&lock);
  return count;
}
