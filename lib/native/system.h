/*
 * What is used of libc. Everything is compiled without the system's headers, so that the smallest of compilers will do; all
 * of it is in the process already, so that nothing is linked either.
 */

typedef unsigned char byte;
typedef unsigned int word;
typedef unsigned long size_type;
typedef unsigned long long wide;

/* Larger than the types of glibc and musl on any machine, and as aligned. All zeros is a mutex that is initialised. */
union mutex { char bytes[64]; long aligned; };
union semaphore { char bytes[64]; long aligned; };
union attributes { char bytes[128]; long aligned; };
union signals { char bytes[128]; long aligned; };
struct timespec { long seconds; long nanoseconds; };
struct part { const void *bytes; size_type length; }; /* struct iovec */

extern void *malloc(size_type);
extern void *realloc(void *, size_type);
extern void free(void *);
extern void *memcpy(void *, const void *, size_type);
extern void *memset(void *, int, size_type);
extern int memcmp(const void *, const void *, size_type);
extern int strcmp(const char *, const char *);
extern size_type strlen(const char *);
extern char *strrchr(const char *, int);
extern void *mmap(void *, size_type, int, int, int, long);
extern int munmap(void *, size_type);
extern int close(int);
extern int fcntl(int, int, ...);
extern long pread(int, void *, size_type, long);
extern long writev(int, const struct part *, int);
extern int posix_fadvise(int, long, long, int);
extern int clock_gettime(int, struct timespec *);
extern void *dlopen(const char *, int);
extern void *dlsym(void *, const char *);
extern int pthread_mutex_init(union mutex *, const void *);
extern int pthread_mutex_lock(union mutex *);
extern int pthread_mutex_unlock(union mutex *);
extern int pthread_mutex_destroy(union mutex *);
extern int sem_init(union semaphore *, int, unsigned);
extern int sem_wait(union semaphore *);
extern int sem_post(union semaphore *);
extern int sem_destroy(union semaphore *);
extern int pthread_attr_init(union attributes *);
extern int pthread_attr_setdetachstate(union attributes *, int);
extern int pthread_attr_setstacksize(union attributes *, size_type);
extern int pthread_attr_destroy(union attributes *);
extern int pthread_create(unsigned long *, const union attributes *, void *(*)(void *), void *);
extern int pthread_sigmask(int, const union signals *, union signals *);
extern int sigfillset(union signals *);

enum {
  LAZY = 1,             /* RTLD_LAZY */
  DETACHED = 1,         /* PTHREAD_CREATE_DETACHED */
  SET_MASK = 2,         /* SIG_SETMASK */
  READ_WRITE = 3,       /* PROT_READ | PROT_WRITE */
  PRIVATE_ZEROS = 34,   /* MAP_PRIVATE | MAP_ANONYMOUS */
  INTERRUPTED = 4,      /* EINTR */
  AGAIN = 11,           /* EAGAIN */
  MONOTONIC = 1,        /* CLOCK_MONOTONIC */
  DUPLICATE = 1030,     /* F_DUPFD_CLOEXEC */
  WILL_NEED = 3         /* POSIX_FADV_WILLNEED */
};

/* The parts of this library to each other; in the process' global scope, hence the prefix. */

/* reads.c: room for one read of one thread; NULL when there is none. */
struct annexfs_room;
struct annexfs_room *annexfs_room_make(void);
void annexfs_room_free(struct annexfs_room *);
/* Answers the request on `device` if it is a read that can be answered here; 0 when it is for libfuse. */
int annexfs_read(int device, const byte *request, size_type length, struct annexfs_room *room);
/* sums.c: whether there can be sums; the seed of a piece; the sums of whole blocks, of which the first has `seed`. */
int annexfs_can_sum(void);
word annexfs_mix(word);
word annexfs_piece_seed(word space, word piece, word stamp);
word annexfs_sums(word seed, const byte *bytes, size_type length, word *sums);
/* names.c: the file system is no longer served. */
void annexfs_names_over(void *fuse);
/* module.c: monotonic, in milliseconds. */
double annexfs_now(void);
