/* What is used of Node-API, and how its arguments are taken. Those are what part.ts passes, and are not checked again. */

typedef struct napi_env_type *env_type;
typedef struct napi_value_type *value_type;
typedef struct napi_info_type *info_type;
typedef struct napi_ref_type *reference_type;
typedef struct napi_deferred_type *deferred_type;
typedef struct napi_work_type *async_type;

extern int napi_create_function(env_type, const char *, size_type, value_type (*)(env_type, info_type), void *, value_type *);
extern int napi_set_named_property(env_type, value_type, const char *, value_type);
extern int napi_get_cb_info(env_type, info_type, size_type *, value_type *, value_type *, void **);
extern int napi_get_value_double(env_type, value_type, double *);
extern int napi_get_value_string_utf8(env_type, value_type, char *, size_type, size_type *);
extern int napi_get_typedarray_info(env_type, value_type, int *, size_type *, void **, value_type *, size_type *);
extern int napi_get_array_length(env_type, value_type, word *);
extern int napi_get_element(env_type, value_type, word, value_type *);
extern int napi_create_double(env_type, double, value_type *);
extern int napi_create_string_utf8(env_type, const char *, size_type, value_type *);
extern int napi_create_promise(env_type, deferred_type *, value_type *);
extern int napi_resolve_deferred(env_type, deferred_type, value_type);
extern int napi_create_reference(env_type, value_type, word, reference_type *);
extern int napi_delete_reference(env_type, reference_type);
extern int napi_create_async_work(env_type, value_type, value_type, void (*)(env_type, void *), void (*)(env_type, int, void *),
                                  void *, async_type *);
extern int napi_queue_async_work(env_type, async_type);
extern int napi_delete_async_work(env_type, async_type);

enum { MOST_ARGUMENTS = 5 };

struct arguments { value_type values[MOST_ARGUMENTS]; };

static inline struct arguments arguments_of(env_type env, info_type info) {
  struct arguments given;
  size_type count = MOST_ARGUMENTS;
  memset(&given, 0, sizeof given);
  napi_get_cb_info(env, info, &count, given.values, 0, 0);
  return given;
}

static inline double number_of(env_type env, value_type value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return number;
}

/* The bytes of a Uint8Array. */
static inline byte *bytes_of(env_type env, value_type value, size_type *length) {
  void *bytes = 0;
  int type;
  *length = 0;
  napi_get_typedarray_info(env, value, &type, length, &bytes, 0, 0);
  return bytes;
}

/* The numbers of a Float64Array. */
static inline double *numbers_of(env_type env, value_type value, size_type *count) { return (double *)bytes_of(env, value, count); }
