/*
 * Writes pieces that lie one after the other into a space of the cache (lib/cache/format.ts): sums, data, and then the records
 * that make them count, in one go, by a thread of libuv's pool. The main thread has better things to do than sums.
 *
 * Who owns what: a `job` belongs to the main thread, but for `execute`, which alone runs in the pool. It holds references to
 * the arrays that it reads from.
 */
#include "system.h"
#include "node.h"

enum {
  BLOCK = 16384,
  MOST_PIECES = 1024,   /* IOV_MAX */
  INVALID = 22,         /* EINVAL */
  FAULTY = 5,           /* EIO */
  NO_MEMORY = 12        /* ENOMEM */
};

struct job {
  async_type work;
  deferred_type deferred;
  reference_type held[2];
  int data, index, error;
  long data_at, sums_at, records_at;
  word first, seed, count;
  size_type records_length;
  const byte *records;
  struct part *parts;
  word *stamps;
};

extern long pwrite(int, const void *, size_type, long);
extern long pwritev(int, const struct part *, int, long);
extern int *__errno_location(void);

static int write_parts(int file, struct part *parts, word count, long at) {
  while (count > 0) {
    long done = pwritev(file, parts, (int)count, at);
    if (done < 0 && *__errno_location() == INTERRUPTED) continue;
    if (done <= 0) return done < 0 ? *__errno_location() : FAULTY;
    at += done;
    while (count > 0 && (size_type)done >= parts->length) {
      done -= (long)parts->length;
      parts++;
      count--;
    }
    if (count > 0) {
      parts->bytes = (const byte *)parts->bytes + done;
      parts->length -= (size_type)done;
    }
  }
  return 0;
}

static int write_bytes(int file, const void *bytes, size_type length, long at) {
  struct part part;
  part.bytes = bytes;
  part.length = length;
  return write_parts(file, &part, 1, at);
}

static void execute(env_type env, void *argument) {
  struct job *job = argument;
  word nth, count = 0;
  word *sums;
  (void)env;
  for (nth = 0; nth < job->count; nth++) count += (word)((job->parts[nth].length + BLOCK - 1) / BLOCK);
  sums = malloc(count * sizeof(word));
  if (sums == 0) {
    job->error = NO_MEMORY;
    return;
  }
  count = 0;
  for (nth = 0; nth < job->count; nth++) {
    count += annexfs_sums(annexfs_piece_seed(job->seed, job->first + nth, job->stamps[nth]), job->parts[nth].bytes,
                          job->parts[nth].length, sums + count);
  }
  job->error = write_parts(job->data, job->parts, job->count, job->data_at);
  if (job->error == 0) job->error = write_bytes(job->index, sums, count * sizeof(word), job->sums_at);
  if (job->error == 0) job->error = write_bytes(job->index, job->records, job->records_length, job->records_at);
  free(sums);
}

static void complete(env_type env, int status, void *argument) {
  struct job *job = argument;
  value_type result;
  if (status != 0) job->error = FAULTY;
  napi_create_double(env, (double)job->error, &result);
  napi_resolve_deferred(env, job->deferred, result);
  napi_delete_reference(env, job->held[0]);
  napi_delete_reference(env, job->held[1]);
  napi_delete_async_work(env, job->work);
  free(job->parts);
  free(job->stamps);
  free(job);
}

/* store(data, index, places, pieces, records): a promise of 0 or an errno. `places` and then the stamps as in part.ts. */
value_type annexfs_store(env_type env, info_type info) {
  struct arguments given = arguments_of(env, info);
  struct job *job = malloc(sizeof *job);
  value_type promise = 0, name;
  size_type length;
  const double *places = numbers_of(env, given.values[2], &length);
  word nth, count = 0;
  if (job == 0) return 0;
  memset(job, 0, sizeof *job);
  napi_create_promise(env, &job->deferred, &promise);
  napi_get_array_length(env, given.values[3], &count);
  napi_create_reference(env, given.values[3], 1, &job->held[0]);
  napi_create_reference(env, given.values[4], 1, &job->held[1]);
  napi_create_string_utf8(env, "annexfs store", (size_type)-1, &name);
  napi_create_async_work(env, 0, name, execute, complete, job, &job->work);
  job->count = count;
  job->parts = malloc((count + 1) * sizeof *job->parts);
  job->stamps = malloc((count + 1) * sizeof *job->stamps);
  if (job->parts == 0 || job->stamps == 0 || places == 0 || count > MOST_PIECES || length != 5 + (size_type)count) {
    complete(env, 1, job);
    return promise;
  }
  job->data = (int)number_of(env, given.values[0]);
  job->index = (int)number_of(env, given.values[1]);
  job->data_at = (long)places[0];
  job->sums_at = (long)places[1];
  job->records_at = (long)places[2];
  job->first = (word)(long)places[3];
  job->seed = (word)(long)places[4];
  for (nth = 0; nth < count; nth++) {
    value_type piece;
    napi_get_element(env, given.values[3], nth, &piece);
    job->parts[nth].bytes = bytes_of(env, piece, &job->parts[nth].length);
    job->stamps[nth] = (word)(long)places[5 + nth];
  }
  job->records = bytes_of(env, given.values[4], &job->records_length);
  if (napi_queue_async_work(env, job->work) != 0) complete(env, 1, job);
  return promise;
}
