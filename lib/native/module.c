/*
 * What Node.js asks of a file that it loads (Node-API), and gives to part.ts: the functions of reads.c, names.c and store.c.
 */
#include "system.h"
#include "node.h"

extern int annexfs_grant(word, int, int, const double *);
extern int annexfs_layout_length(void);
extern void annexfs_end(word);
extern void annexfs_revoke(word);
extern int annexfs_collect(word, double *, word);
extern double annexfs_served(void);
extern void annexfs_forget(double, const char *);

extern value_type annexfs_store(env_type, info_type);

enum { LONGEST_PATH = 65536 };

double annexfs_now(void) {
  struct timespec time;
  clock_gettime(MONOTONIC, &time);
  return (double)time.seconds * 1e3 + (double)time.nanoseconds / 1e6;
}

static value_type number(env_type env, double value) {
  value_type made = 0;
  napi_create_double(env, value, &made);
  return made;
}

/* grant(handle, data, index, layout): 1 or 0 */
static value_type grant(env_type env, info_type info) {
  struct arguments given = arguments_of(env, info);
  size_type count;
  const double *layout = numbers_of(env, given.values[3], &count);
  if (layout == 0 || count != (size_type)annexfs_layout_length()) return number(env, 0);
  return number(env, annexfs_grant((word)(long)number_of(env, given.values[0]), (int)number_of(env, given.values[1]),
                                   (int)number_of(env, given.values[2]), layout));
}

/* revoke(handle) */
static value_type revoke(env_type env, info_type info) {
  struct arguments given = arguments_of(env, info);
  annexfs_revoke((word)(long)number_of(env, given.values[0]));
  return 0;
}

/* end(handle) */
static value_type end(env_type env, info_type info) {
  struct arguments given = arguments_of(env, info);
  annexfs_end((word)(long)number_of(env, given.values[0]));
  return 0;
}

/* collect(handle, notes): how many */
static value_type collect(env_type env, info_type info) {
  struct arguments given = arguments_of(env, info);
  size_type count;
  double *into = numbers_of(env, given.values[1], &count);
  return number(env, into == 0 ? 0 : annexfs_collect((word)(long)number_of(env, given.values[0]), into, (word)(count / 3)));
}

/* served(): reads that were answered here since the start */
static value_type served(env_type env, info_type info) {
  (void)info;
  return number(env, annexfs_served());
}

/* forget(mount, path) */
static value_type forget(env_type env, info_type info) {
  struct arguments given = arguments_of(env, info);
  char path[LONGEST_PATH];
  size_type length;
  if (napi_get_value_string_utf8(env, given.values[1], path, sizeof path, &length) == 0) {
    annexfs_forget(number_of(env, given.values[0]), path);
  }
  return 0;
}

static void give(env_type env, value_type exports, const char *name, value_type (*call)(env_type, info_type)) {
  value_type made;
  if (napi_create_function(env, name, (size_type)-1, call, 0, &made) == 0) napi_set_named_property(env, exports, name, made);
}

void *napi_register_module_v1(void *environment, void *exports) {
  give(environment, exports, "grant", grant);
  give(environment, exports, "end", end);
  give(environment, exports, "revoke", revoke);
  give(environment, exports, "collect", collect);
  give(environment, exports, "served", served);
  give(environment, exports, "forget", forget);
  if (annexfs_can_sum()) give(environment, exports, "store", annexfs_store);
  return exports;
}
