// Command line and line-wise output.
#include "internal.h"

static char command_line[4096];
static spinlock line_lock;
static u16 out_port = 0x3f8;
static bool out_string;
static volatile u32 failure_count;

const char *cmdline(void) { return command_line; }

static const char *find_param(const char *key, size_t *length) {
  size_t key_length = strlen(key);
  const char *word = command_line;
  while (*word) {
    const char *end = word;
    while (*end && *end != ' ') end++;
    if ((size_t)(end - word) > key_length && memcmp(word, key, key_length) == 0 && word[key_length] == '=') {
      *length = end - word - key_length - 1;
      return word + key_length + 1;
    }
    word = *end ? end + 1 : end;
  }
  return NULL;
}

const char *param(const char *key, const char *otherwise) {
  size_t length;
  const char *value = find_param(key, &length);
  if (!value) return otherwise;
  char *copy = allocate(length + 1, 1);
  memcpy(copy, value, length);
  return copy;
}

bool param_is(const char *key, const char *value) {
  size_t length;
  const char *found = find_param(key, &length);
  return found && length == strlen(value) && memcmp(found, value, length) == 0;
}

u64 param_number(const char *key, u64 otherwise) {
  size_t length;
  const char *text = find_param(key, &length);
  if (!text) return otherwise;
  const char *end = text + length;
  u64 base = 10, value = 0;
  if (length > 2 && text[0] == '0' && text[1] == 'x') base = 16, text += 2;
  for (; text < end; text++) {
    char c = *text;
    u64 digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
    if (digit >= base) break;
    value = value * base + digit;
  }
  if (text < end && *text == 'K') value <<= 10, text++;
  if (text < end && *text == 'M') value <<= 20, text++;
  if (text < end && *text == 'G') value <<= 30, text++;
  if (text != end) fail("bad number in parameter %s", key);
  return value;
}

static size_t put_number(char *digits, u64 value, u32 base) {
  size_t n = 0;
  do {
    digits[n++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  return n;
}

// %d %u %x %c %s %%, with l, a width and a leading 0.
int vformat(char *to, size_t size, const char *format, va_list arguments) {
  size_t used = 0;
  for (; *format && used + 1 < size; format++) {
    if (*format != '%') {
      to[used++] = *format;
      continue;
    }
    char pad = ' ';
    u32 width = 0;
    bool is_long = false;
    char digits[24];
    size_t n = 0;
    format++;
    if (*format == '0') pad = '0', format++;
    while (*format >= '0' && *format <= '9') width = width * 10 + (*format++ - '0');
    while (*format == 'l') is_long = true, format++;
    switch (*format) {
      case 'd': {
        int64_t value = is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int);
        n = put_number(digits, value < 0 ? -(u64)value : (u64)value, 10);
        if (value < 0) digits[n++] = '-';
        break;
      }
      case 'u':
        n = put_number(digits, is_long ? va_arg(arguments, u64) : va_arg(arguments, u32), 10);
        break;
      case 'x':
        n = put_number(digits, is_long ? va_arg(arguments, u64) : va_arg(arguments, u32), 16);
        break;
      case 'c':
        to[used++] = va_arg(arguments, int);
        continue;
      case 's': {
        const char *text = va_arg(arguments, const char *);
        while (*text && used + 1 < size) to[used++] = *text++;
        continue;
      }
      default:
        to[used++] = *format;
        continue;
    }
    for (size_t i = n; i < width && used + 1 < size; i++) to[used++] = pad;
    while (n && used + 1 < size) to[used++] = digits[--n];
  }
  to[used] = 0;
  return used;
}

static void put_line(const char *text, size_t length) {
  spin_lock(&line_lock);
  if (out_string)
    outs8(out_port, text, length);
  else
    for (size_t i = 0; i < length; i++) out8(out_port, text[i]);
  spin_unlock(&line_lock);
}

void print(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vformat(line, sizeof line, format, arguments);
  va_end(arguments);
  put_line(line, length);
}

int serial_poll(void) { return in8(0x3fd) & 1 ? in8(0x3f8) : -1; }

u8 serial_wait(u64 ns) {
  u64 deadline = now_ns() + ns;
  for (;;) {
    int byte = serial_poll();
    if (byte >= 0) return byte;
    if (now_ns() > deadline) fail("no byte came in on the serial port");
    spin_ns(1000000);
  }
}

static void print_failure(const char *format, va_list arguments) {
  char line[512] = "FAIL ";
  int length = 5 + vformat(line + 5, sizeof line - 6, format, arguments);
  line[length++] = '\n';
  u32 before = __atomic_fetch_add(&failure_count, 1, __ATOMIC_SEQ_CST);
  // A check in a loop may fail a million times; the first ones tell the story.
  if (before < 20) put_line(line, length);
}

void report_failure(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_failure(format, arguments);
  va_end(arguments);
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  // The lock may be held by the code that failed.
  line_lock.taken = 0;
  failure_count = 0;
  print_failure(format, arguments);
  va_end(arguments);
  power_off();
}

u32 failures(void) { return failure_count; }

void print_init(void) {
  const char *text = (const char *)start_info()->cmdline_paddr;
  if (text) {
    size_t length = strlen(text);
    if (length >= sizeof command_line) length = sizeof command_line - 1;
    memcpy(command_line, text, length);
  }
  if (param_is("out", "402")) out_port = 0x402;
  if (param_is("out", "e9")) out_port = 0xe9, out_string = true;
}
