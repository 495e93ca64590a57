// Many AF_VSOCK connections of one process:
//   vsock-connections dial PORT COUNT     connects COUNT times to a port of the host, which echoes, and only then says something on
//                                         each and expects it back
//   vsock-connections answer PORT COUNT   says "listening", takes COUNT connections, and echoes what is said on each until all are over
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static void die(const char *what, int index) {
  printf("%s of connection %d: %s\n", what, index, strerror(errno));
  exit(1);
}

static int vsock(void) {
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd < 0) die("socket", 0);
  return fd;
}

static void dial(unsigned port, int count) {
  struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
  int *fds = calloc(count, sizeof *fds);
  for (int i = 0; i < count; i++) {
    fds[i] = vsock();
    if (connect(fds[i], (struct sockaddr *)&host, sizeof host) < 0) die("connect", i);
  }
  printf("%d open\n", count);
  char text[32], back[32];
  for (int i = 0; i < count; i++) {
    int length = snprintf(text, sizeof text, "connection %d", i);
    if (write(fds[i], text, length) != length) die("write", i);
  }
  for (int i = 0; i < count; i++) {
    int length = snprintf(text, sizeof text, "connection %d", i);
    for (int got = 0; got < length;) {
      int part = read(fds[i], back + got, length - got);
      if (part <= 0) die("read", i);
      got += part;
    }
    if (memcmp(text, back, length) != 0) die("comparison", i);
  }
  printf("%d echoed\n", count);
}

static void answer(unsigned port, int count) {
  struct sockaddr_vm self = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
  int listener = vsock();
  if (bind(listener, (struct sockaddr *)&self, sizeof self) < 0) die("bind", 0);
  if (listen(listener, count) < 0) die("listen", 0);
  printf("listening\n");
  struct pollfd *polled = calloc(count + 1, sizeof *polled);
  polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  int accepted = 0, over = 0;
  while (over < count) {
    if (poll(polled, accepted + 1, -1) < 0) die("poll", 0);
    if (polled[0].revents) {
      int fd = accept(listener, NULL, NULL);
      if (fd < 0) die("accept", accepted);
      polled[++accepted] = (struct pollfd){.fd = fd, .events = POLLIN};
      if (accepted == count) polled[0].fd = -1;
    }
    for (int i = 1; i <= accepted; i++) {
      if (polled[i].fd < 0 || !polled[i].revents) continue;
      char text[4096];
      int length = read(polled[i].fd, text, sizeof text);
      if (length > 0 && write(polled[i].fd, text, length) == length) continue;
      close(polled[i].fd);
      polled[i].fd = -1;
      over++;
    }
  }
  printf("%d answered\n", accepted);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc != 4) return 2;
  (strcmp(argv[1], "dial") == 0 ? dial : answer)(atoi(argv[2]), atoi(argv[3]));
  return 0;
}
