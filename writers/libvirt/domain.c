/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The format of a domain's document: https://libvirt.org/formatdomain.html */
#include "writers/libvirt/domain.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>
#include <sys/stat.h>

static void free_document(xmlDocPtr *d) { xmlFreeDoc(*d); }
static void free_context(xmlXPathContextPtr *c) { xmlXPathFreeContext(*c); }
static void free_found(xmlXPathObjectPtr *o) { xmlXPathFreeObject(*o); }
#define CLEANUP_DOCUMENT CLEANUP(free_document)
#define CLEANUP_CONTEXT CLEANUP(free_context)
#define CLEANUP_FOUND CLEANUP(free_found)

int domain_failed(struct umbra_error *err, int code, const char *what, const char *name) {
  return error_set(err, code, UMBRA_REASON_WRITER, "%s domain '%s': %s", what, name, virGetLastErrorMessage());
}

/* It prints errors by itself otherwise. */
static void be_silent(void *userdata, virErrorPtr error) {
  (void)userdata;
  (void)error;
}

bool domain_daemon_is_there(void) {
  return access("/run/libvirt/libvirt-sock", F_OK) == 0 || access("/run/libvirt/virtqemud-sock", F_OK) == 0;
}

int domain_connect(virConnectPtr *ret, struct umbra_error *err) {
  virSetErrorFunc(NULL, be_silent);
  *ret = virConnectOpen("qemu:///system");
  if (*ret)
    return 0;
  int code = virGetLastErrorCode();
  return error_set(err,
                   code == VIR_ERR_NO_CONNECT || code == VIR_ERR_CONFIG_UNSUPPORTED ? -EOPNOTSUPP : -ECONNREFUSED,
                   UMBRA_REASON_WRITER, "connecting to libvirt: %s", virGetLastErrorMessage());
}

void domain_done(struct domain *d) {
  for (size_t i = 0; i < d->count; i++)
    free(d->images[i]);
  free(d->name);
  *d = (struct domain){0};
}

const char *domain_instance(const struct domain *d, char buffer[DOMAIN_INSTANCE_BYTES]) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/@:";
  bool good = strspn(d->name, allowed) == strlen(d->name) && strlen(d->name) < DOMAIN_INSTANCE_BYTES;
  (void)snprintf(buffer, DOMAIN_INSTANCE_BYTES, "%s", good ? d->name : d->uuid);
  return buffer;
}

/* ---- its document ---- */

static xmlDocPtr parse(const char *xml) {
  return strlen(xml) <= DOMAIN_DOCUMENT_BYTES_MAX
             ? xmlReadMemory(xml, (int)strlen(xml), "domain.xml", NULL,
                             XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)
             : NULL;
}

static int add_image(struct domain *d, const char *path, struct umbra_error *err) {
  struct stat st;
  /* A device is no file of a volume. */
  if (path[0] != '/' || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
    return 0;
  for (size_t i = 0; i < d->count; i++)
    if (strcmp(d->images[i], path) == 0)
      return 0;
  if (d->count == DOMAIN_IMAGES_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "domain '%s' has more than %d images", d->name,
                     DOMAIN_IMAGES_MAX);
  d->images[d->count] = strdup(path);
  return d->images[d->count++] ? 0 : error_code(err, -ENOMEM, "describing domain '%s'", d->name);
}

/* Where the disks are that are written to, the images below them, and what the firmware keeps. */
static const char images_path[] =
    "/domain/devices/disk[not(@device) or @device='disk' or @device='lun']//source/@file"
    "|/domain/os/nvram[not(@type) or @type='file']/text()|/domain/os/nvram/source/@file";

static int take_images(struct domain *d, xmlXPathContextPtr context, struct umbra_error *err) {
  CLEANUP_FOUND xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST images_path, context);
  int r = found ? 0 : error_code(err, -ENOMEM, "describing domain '%s'", d->name);
  for (int i = 0; r == 0 && found->nodesetval && i < found->nodesetval->nodeNr; i++) {
    xmlChar *path = xmlNodeGetContent(found->nodesetval->nodeTab[i]);
    r = path ? add_image(d, (const char *)path, err) : error_code(err, -ENOMEM, "describing domain '%s'", d->name);
    xmlFree(path);
  }
  return r;
}

static bool has_agent(xmlXPathContextPtr context) {
  CLEANUP_FOUND xmlXPathObjectPtr found =
      xmlXPathEvalExpression(BAD_CAST "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']", context);
  return found && found->nodesetval && found->nodesetval->nodeNr > 0;
}

int domain_examine(virDomainPtr handle, struct domain *ret, struct umbra_error *err) {
  *ret = (struct domain){.name = strdup(virDomainGetName(handle))};
  if (!ret->name || virDomainGetUUIDString(handle, ret->uuid) < 0)
    return error_code(err, -ENOMEM, "describing a domain");
  CLEANUP_FREE char *xml = virDomainGetXMLDesc(handle, 0);
  if (!xml)
    return domain_failed(err, -EIO, "asking for the document of", ret->name);
  CLEANUP_DOCUMENT xmlDocPtr document = parse(xml);
  CLEANUP_CONTEXT xmlXPathContextPtr context = document ? xmlXPathNewContext(document) : NULL;
  if (!context)
    return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "the document of domain '%s' is not readable", ret->name);
  ret->has_agent = has_agent(context);
  return take_images(ret, context, err);
}

/* ---- for another place ---- */

/* What is of the running domain, or can be there once only. */
static const char own_path[] = "/domain/uuid|/domain/seclabel|/domain/devices/interface/mac"
                               "|/domain/devices/channel/source[@mode='bind']|/domain/devices//alias"
                               "|/domain/devices/interface/target";

static int move_images(xmlXPathContextPtr context, const struct domain *d,
                       char *(*place)(const void *context, const char *path), const void *place_context) {
  CLEANUP_FOUND xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST images_path, context);
  for (int i = 0; found && found->nodesetval && i < found->nodesetval->nodeNr; i++) {
    xmlNodePtr node = found->nodesetval->nodeTab[i];
    xmlChar *path = xmlNodeGetContent(node);
    for (size_t k = 0; path && k < d->count; k++) {
      CLEANUP_FREE char *there =
          strcmp(d->images[k], (const char *)path) == 0 ? place(place_context, d->images[k]) : NULL;
      /* Of an attribute, too, its node's content is text. */
      xmlChar *escaped = there ? xmlEncodeSpecialChars(node->doc, BAD_CAST there) : NULL;
      if (escaped)
        xmlNodeSetContent(node, escaped);
      xmlFree(escaped);
    }
    xmlFree(path);
  }
  return found ? 0 : -ENOMEM;
}

static int strip(xmlXPathContextPtr context) {
  CLEANUP_FOUND xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST own_path, context);
  for (int i = 0; found && found->nodesetval && i < found->nodesetval->nodeNr; i++) {
    xmlUnlinkNode(found->nodesetval->nodeTab[i]);
    xmlFreeNode(found->nodesetval->nodeTab[i]);
    found->nodesetval->nodeTab[i] = NULL;
  }
  return found ? 0 : -ENOMEM;
}

static int rename_to(xmlXPathContextPtr context, const struct domain *d) {
  CLEANUP_FREE char *name = NULL;
  CLEANUP_FOUND xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST "/domain/name", context);
  if (!found || !found->nodesetval || found->nodesetval->nodeNr != 1)
    return -EBADMSG;
  xmlChar *escaped =
      asprintf(&name, "%s-restored", d->name) < 0 ? NULL : xmlEncodeSpecialChars(context->doc, BAD_CAST name);
  if (escaped)
    xmlNodeSetContent(found->nodesetval->nodeTab[0], escaped);
  xmlFree(escaped);
  return escaped ? 0 : -ENOMEM;
}

int domain_move(const char *xml, const struct domain *d, char *(*place)(const void *context, const char *path),
                const void *place_context, char **ret, struct umbra_error *err) {
  CLEANUP_DOCUMENT xmlDocPtr document = parse(xml);
  CLEANUP_CONTEXT xmlXPathContextPtr context = document ? xmlXPathNewContext(document) : NULL;
  if (!context)
    return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "the document of domain '%s' is not readable", d->name);
  int r = move_images(context, d, place, place_context);
  if (r == 0)
    r = strip(context);
  if (r == 0)
    r = rename_to(context, d);
  xmlChar *text = NULL;
  int length = 0;
  if (r == 0)
    xmlDocDumpMemory(document, &text, &length);
  *ret = text ? strdup((const char *)text) : NULL;
  xmlFree(text);
  return *ret ? 0 : error_code(err, r < 0 ? r : -ENOMEM, "changing the document of domain '%s'", d->name);
}

/* ---- keys ---- */

char *domain_key(const struct domain *d) {
  CLEANUP_JSON json_t *images = json_array();
  for (size_t i = 0; i < d->count; i++)
    (void)json_array_append_new(images, json_path(d->images[i]));
  CLEANUP_JSON json_t *key = json_pack("{s:o, s:s, s:O, s:b}", "name", json_path(d->name), "uuid", d->uuid, "images",
                                       images, "has_agent", d->has_agent);
  return key ? json_dumps(key, JSON_COMPACT) : NULL;
}

int domain_from_key(const char *key, struct domain *ret, struct umbra_error *err) {
  CLEANUP_JSON json_t *json = NULL;
  *ret = (struct domain){0};
  int r = json_parse(key, strlen(key), "the instance's key", &json, err);
  if (r < 0)
    return r;
  const json_t *images = json_object_get(json, "images"), *one;
  size_t i;
  (void)snprintf(ret->uuid, sizeof ret->uuid, "%s", json_get_string_or(json, "uuid", ""));
  ret->has_agent = json_get_boolean_or(json, "has_agent", false);
  bool sound = json_path_value(json_object_get(json, "name"), &ret->name) == 0 && ret->uuid[0] &&
               json_array_size(images) <= DOMAIN_IMAGES_MAX;
  if (sound)
    json_array_foreach(images, i, one) {
      sound = json_path_value(one, &ret->images[ret->count]) == 0;
      if (!sound)
        break;
      ret->count++;
    }
  return sound ? 0 : error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the instance's key is not what identify said");
}
