#include <node_api.h>
#include <string.h>

/* Returns a text up to its first slash. */
static napi_value browser(napi_env env, napi_callback_info info) {
  char text[256] = "";
  size_t count = 1;
  napi_value given, found;
  napi_get_cb_info(env, info, &count, &given, NULL, NULL);
  napi_get_value_string_utf8(env, given, text, sizeof text, NULL);
  napi_create_string_utf8(env, text, strcspn(text, "/"), &found);
  return found;
}

NAPI_MODULE_INIT() {
  napi_value made;
  napi_create_function(env, "browser", NAPI_AUTO_LENGTH, browser, NULL, &made);
  return made;
}
