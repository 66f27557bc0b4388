/* The floor: one thread, epoll, sends back what it receives. echo HOST PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BYTES = 1 << 16, EVENTS = 1024 };

static void die(const char *what) {
  fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
  exit(1);
}

int main(int argc, char **argv) {
  static char buffer[BYTES];
  static struct epoll_event events[EVENTS];
  if (argc != 3) return 2;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) die("address");
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll_fd = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  if (listen(listener, 4096) < 0) die("listen");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int n = epoll_wait(poll_fd, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (accepted < 0) die("accept");
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event added = {.events = EPOLLIN, .data.fd = accepted};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, accepted, &added);
        continue;
      }
      ssize_t length = recv(fd, buffer, sizeof buffer, 0);
      if (length <= 0) {
        close(fd);
        continue;
      }
      if (send(fd, buffer, (size_t)length, MSG_NOSIGNAL) != length) die("send");
    }
  }
}
