/*
 * `fuse_loop_mt` of libfuse 2.9 (fuse_loop_mt.c there), with threads that stay.
 *
 * libfuse ends threads that are idle beyond ten, and starts new ones for the next burst. fuse-native keeps the state of
 * every thread that ever was, and libuv walks all of it at each wake-up: after 100 bursts of 150 readers a read takes
 * twice as long. Here a thread that is not needed is parked and used again, so there are never more than requests were
 * once waiting at the same time.
 *
 * Loaded with RTLD_GLOBAL before fuse-native, which then finds this function instead of libfuse's (native-notes.md).
 * libfuse's functions are looked up when they are needed, for it is loaded later than this. Reads of what is cached are
 * answered by reads.c, before libfuse sees them.
 *
 * Who owns what: everything in `struct loop` is under its lock.
 */

#include "system.h"

struct session;
struct channel;

enum {
  STACK = 256 * 1024,   /* libfuse's own handlers need little */
  MOST_RECEIVING = 8    /* threads that wait for the kernel at once; the others are parked, the last one on top */
};

struct worker;

struct loop {
  struct session *session;
  struct channel *channel;
  size_type buffer;
  int device;
  int (*receive)(struct channel **, char *, size_type);
  void (*process)(struct session *, const char *, size_type, struct channel *);
  union mutex lock;
  union semaphore ended;
  struct worker *parked;
  int receiving;
  int threads;
  int over;
  int failed;
};

struct worker {
  struct loop *loop;
  struct worker *below;
  union semaphore wake;
};

static void *work(void *);

/* Starts one more thread. With the lock held. */
static int start(struct loop *loop) {
  union attributes attributes;
  union signals all, before;
  unsigned long thread;
  int error;
  struct worker *worker = malloc(sizeof *worker);
  if (worker == 0) return -1;
  worker->loop = loop;
  worker->below = 0;
  sem_init(&worker->wake, 0, 0);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, DETACHED);
  pthread_attr_setstacksize(&attributes, STACK);
  /* Signals are for the main thread. */
  sigfillset(&all);
  pthread_sigmask(SET_MASK, &all, &before);
  error = pthread_create(&thread, &attributes, work, worker);
  pthread_sigmask(SET_MASK, &before, 0);
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    sem_destroy(&worker->wake);
    free(worker);
    return -1;
  }
  loop->threads += 1;
  return 0;
}

/* Lets somebody wait for the kernel's next request. With the lock held. */
static void relieve(struct loop *loop) {
  struct worker *next = loop->parked;
  if (next == 0) {
    /* Without a new thread the next request waits until one of those at work is done. */
    start(loop);
    return;
  }
  loop->parked = next->below;
  sem_post(&next->wake);
}

static void *work(void *argument) {
  struct worker *self = argument;
  struct loop *loop = self->loop;
  /* Room for the longest of requests, of which only the first page is ever touched: on the heap it would split it up. */
  char *buffer = mmap(0, loop->buffer, READ_WRITE, PRIVATE_ZEROS, -1, 0);
  struct annexfs_room *room = annexfs_room_make();
  pthread_mutex_lock(&loop->lock);
  while (!loop->over && buffer != (char *)-1) {
    struct channel *channel = loop->channel;
    int got;
    if (loop->receiving >= MOST_RECEIVING) {
      self->below = loop->parked;
      loop->parked = self;
      pthread_mutex_unlock(&loop->lock);
      while (sem_wait(&self->wake) != 0) {}
      pthread_mutex_lock(&loop->lock);
      continue;
    }
    loop->receiving += 1;
    pthread_mutex_unlock(&loop->lock);
    got = loop->receive(&channel, buffer, loop->buffer);
    pthread_mutex_lock(&loop->lock);
    loop->receiving -= 1;
    if (got == -INTERRUPTED || got == -AGAIN) continue;
    if (got <= 0) {
      /* Unmounted; the others that wait for the kernel are told so, too. */
      if (got < 0) loop->failed = 1;
      loop->over = 1;
      while (loop->parked != 0) relieve(loop);
      break;
    }
    if (loop->receiving == 0) relieve(loop);
    pthread_mutex_unlock(&loop->lock);
    if (!annexfs_read(loop->device, (const byte *)buffer, (size_type)got, room)) {
      loop->process(loop->session, buffer, (size_type)got, channel);
    }
    pthread_mutex_lock(&loop->lock);
  }
  loop->threads -= 1;
  {
    int last = loop->threads == 0;
    pthread_mutex_unlock(&loop->lock);
    sem_destroy(&self->wake);
    if (buffer != (char *)-1) munmap(buffer, loop->buffer);
    annexfs_room_free(room);
    free(self);
    if (last) sem_post(&loop->ended);
  }
  return 0;
}

int fuse_loop_mt(void *fuse) {
  struct loop loop;
  void *library = dlopen("libfuse.so.2", LAZY);
  struct session *(*session_of)(void *);
  struct channel *(*next_channel)(struct session *, struct channel *);
  size_type (*buffer_size)(struct channel *);
  int (*device_of)(struct channel *);
  int started;
  if (library == 0) return -1;
  session_of = (struct session * (*)(void *)) dlsym(library, "fuse_get_session");
  next_channel = (struct channel * (*)(struct session *, struct channel *)) dlsym(library, "fuse_session_next_chan");
  buffer_size = (size_type(*)(struct channel *))dlsym(library, "fuse_chan_bufsize");
  device_of = (int (*)(struct channel *))dlsym(library, "fuse_chan_fd");
  loop.receive = (int (*)(struct channel **, char *, size_type))dlsym(library, "fuse_chan_recv");
  loop.process = (void (*)(struct session *, const char *, size_type, struct channel *))dlsym(library, "fuse_session_process");
  if (!session_of || !next_channel || !buffer_size || !device_of || !loop.receive || !loop.process) return -1;
  loop.session = session_of(fuse);
  loop.channel = next_channel(loop.session, 0);
  loop.buffer = buffer_size(loop.channel);
  loop.device = device_of(loop.channel);
  loop.parked = 0;
  loop.receiving = 0;
  loop.threads = 0;
  loop.over = 0;
  loop.failed = 0;
  pthread_mutex_init(&loop.lock, 0);
  sem_init(&loop.ended, 0, 0);
  pthread_mutex_lock(&loop.lock);
  started = start(&loop);
  pthread_mutex_unlock(&loop.lock);
  if (started == 0) {
    while (sem_wait(&loop.ended) != 0) {}
  }
  sem_destroy(&loop.ended);
  pthread_mutex_destroy(&loop.lock);
  annexfs_names_over(fuse);
  return started != 0 || loop.failed ? -1 : 0;
}
