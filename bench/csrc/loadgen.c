/* A Stratum load generator: many connections, a fixed number of submits in flight on each.
 *
 *   loadgen HOST PORT CONNECTIONS IN_FLIGHT WARMUP_S MEASURE_S USER MODE
 *
 * MODE "stratum": subscribes, authorizes, waits for a job, then submits shares whose nonces all differ. The pool must be
 * set to a share difficulty that every hash meets, so that nothing has to be searched for. A new job is followed as soon as
 * it arrives.
 * MODE "echo": the same lines to a server that sends each one back; no handshake.
 *
 * Prints one JSON object: accepted and rejected within the measured time, seconds, latencies in milliseconds, and the first
 * refusal's text. Latency is from the write of a submit to the read of its answer. Answers are matched by id.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_BYTES = 1 << 16, OUT_BYTES = 1 << 15, LINE_BYTES = 320, IDS_BASE = 10, EVENTS = 1024, IN_FLIGHT_MAX = 64 };
enum { BUCKETS = 400000, BUCKET_NS = 2500 };

typedef struct {
  int fd, is_ready, pending, is_subscribed, is_authorized;
  uint32_t in_used, out_used, out_sent;
  uint64_t next_id, extranonce2;
  uint32_t nonce;
  char job[64], ntime[16];
  uint64_t sent_ns[IN_FLIGHT_MAX];
  char *in, *out;
} Conn;

static Conn *conns;
static int epoll_fd, in_flight, is_echo, conn_count, ready_count;
static const char *user;
static uint64_t accepted, rejected, measured_accepted, measured_rejected, answers;
static uint64_t measure_from_ns, measure_to_ns;
static uint32_t *histogram;
static char first_refusal[256];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void flush_out(Conn *c) {
  while (c->out_sent < c->out_used) {
    ssize_t n = send(c->fd, c->out + c->out_sent, c->out_used - c->out_sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) return;
      die("send");
    }
    c->out_sent += (uint32_t)n;
  }
  c->out_used = c->out_sent = 0;
}

static void put(Conn *c, const char *line, size_t length) {
  if (c->out_used + length > OUT_BYTES) die("out buffer full");
  memcpy(c->out + c->out_used, line, length);
  c->out_used += (uint32_t)length;
}

static void submit(Conn *c, uint64_t at_ns) {
  char line[LINE_BYTES];
  uint64_t id = c->next_id++;
  int n = snprintf(line, sizeof line,
                   "{\"params\": [\"%s\", \"%s\", \"%016llx\", \"%s\", \"%08x\"], \"id\": %llu, \"method\": \"mining.submit\"}\n", user,
                   c->job, (unsigned long long)c->extranonce2, c->ntime, c->nonce++, (unsigned long long)id);
  if ((c->nonce & 0xffff) == 0) c->extranonce2++;
  c->sent_ns[id % IN_FLIGHT_MAX] = at_ns;
  c->pending++;
  put(c, line, (size_t)n);
}

static void fill(Conn *c, uint64_t at_ns) {
  while (c->pending < in_flight) submit(c, at_ns);
}

/* Copies the n-th string of the params array of a notify. */
static void notify_field(const char *line, int index, char *to, size_t size) {
  const char *p = strstr(line, "\"params\"");
  if (!p) die("notify without params");
  p = strchr(p, '[') + 1;
  for (int depth = 0, i = 0; *p; p++) {
    if (*p == '[') depth++;
    if (*p == ']') depth--;
    if (*p == ',' && depth == 0) i++;
    else if (i == index && *p == '"') {
      const char *end = strchr(p + 1, '"');
      size_t length = (size_t)(end - p - 1);
      if (length >= size) die("notify field too long");
      memcpy(to, p + 1, length);
      to[length] = 0;
      return;
    }
  }
  die("notify field not found");
}

static void count(Conn *c, const char *line, uint64_t id, uint64_t at_ns) {
  c->pending--;
  answers++;
  int is_accepted = is_echo || strstr(line, "\"result\":true") || strstr(line, "\"result\": true");
  if (is_accepted) accepted++;
  else {
    rejected++;
    if (!first_refusal[0])
      for (size_t i = 0; line[i] && i < sizeof first_refusal - 1; i++) first_refusal[i] = line[i] == '"' || line[i] == '\\' ? '\'' : line[i];
  }
  if (at_ns < measure_from_ns || at_ns >= measure_to_ns) return;
  if (is_accepted) measured_accepted++;
  else measured_rejected++;
  uint64_t bucket = (at_ns - c->sent_ns[id % IN_FLIGHT_MAX]) / BUCKET_NS;
  histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static void become_ready(Conn *c) {
  if (c->is_ready || !c->is_subscribed || !c->is_authorized || !c->job[0]) return;
  c->is_ready = 1;
  ready_count++;
}

static void on_line(Conn *c, char *line, uint64_t at_ns) {
  if (!is_echo && strstr(line, "\"method\"")) {
    if (strstr(line, "mining.notify")) {
      notify_field(line, 0, c->job, sizeof c->job);
      notify_field(line, 7, c->ntime, sizeof c->ntime);
      become_ready(c);
    }
    return;
  }
  const char *p = strstr(line, "\"id\"");
  if (!p) die("answer without id");
  uint64_t id = strtoull(strchr(p, ':') + 1, NULL, 10);
  if (id == 1) c->is_subscribed = 1;
  else if (id == 2) {
    if (!strstr(line, "true")) {
      fprintf(stderr, "loadgen: not authorized: %s\n", line);
      exit(1);
    }
    c->is_authorized = 1;
  } else count(c, line, id, at_ns);
  become_ready(c);
}

static void on_readable(Conn *c) {
  for (;;) {
    ssize_t n = recv(c->fd, c->in + c->in_used, IN_BYTES - 1 - c->in_used, 0);
    if (n == 0) {
      errno = ECONNRESET;
      die("the server closed a connection");
    }
    if (n < 0) {
      if (errno == EAGAIN) return;
      die("recv");
    }
    uint64_t at_ns = now_ns();
    c->in_used += (uint32_t)n;
    char *start = c->in, *end = c->in + c->in_used, *newline;
    while ((newline = memchr(start, '\n', (size_t)(end - start)))) {
      *newline = 0;
      on_line(c, start, at_ns);
      start = newline + 1;
    }
    c->in_used = (uint32_t)(end - start);
    memmove(c->in, start, c->in_used);
    if (c->in_used == IN_BYTES - 1) die("line too long");
    if (n < IN_BYTES / 2) return;
  }
}

static void open_connection(Conn *c, struct sockaddr_in *address, int index) {
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0) die("socket");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->fd, (struct sockaddr *)address, sizeof *address) < 0) die("connect");
  fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
  c->in = malloc(IN_BYTES);
  c->out = malloc(OUT_BYTES);
  c->next_id = IDS_BASE;
  c->extranonce2 = (uint64_t)index << 24;
  if (!c->in || !c->out) die("malloc");
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
  if (is_echo) {
    strcpy(c->job, "1f");
    strcpy(c->ntime, "655f0b1c");
    c->is_subscribed = c->is_authorized = 1;
    become_ready(c);
    return;
  }
  char line[LINE_BYTES];
  put(c, line, (size_t)snprintf(line, sizeof line, "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"loadgen/1\"]}\n"));
  put(c, line, (size_t)snprintf(line, sizeof line, "{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"%s\", \"x\"]}\n", user));
  flush_out(c);
}

static void poll_once(int timeout_ms) {
  static struct epoll_event events[EVENTS];
  int n = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);
  if (n < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < n; i++) {
    Conn *c = events[i].data.ptr;
    on_readable(c);
    if (c->is_ready && measure_to_ns) fill(c, now_ns());
    flush_out(c);
  }
}

static double percentile(double share) {
  uint64_t total = 0, seen = 0;
  for (int i = 0; i < BUCKETS; i++) total += histogram[i];
  for (int i = 0; i < BUCKETS; i++)
    if ((seen += histogram[i]) >= (uint64_t)(share * (double)total) && seen) return (i + 1) * (BUCKET_NS / 1e6);
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 9) {
    fprintf(stderr, "usage: loadgen HOST PORT CONNECTIONS IN_FLIGHT WARMUP_S MEASURE_S USER stratum|echo\n");
    return 2;
  }
  conn_count = atoi(argv[3]);
  in_flight = atoi(argv[4]);
  double warmup_s = atof(argv[5]), measure_s = atof(argv[6]);
  user = argv[7];
  is_echo = !strcmp(argv[8], "echo");
  if (in_flight < 1 || in_flight > IN_FLIGHT_MAX) {
    fprintf(stderr, "loadgen: 1 to %d in flight\n", IN_FLIGHT_MAX);
    return 2;
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) die("address");
  conns = calloc((size_t)conn_count, sizeof *conns);
  histogram = calloc(BUCKETS, sizeof *histogram);
  epoll_fd = epoll_create1(0);
  if (!conns || !histogram || epoll_fd < 0) die("start");
  for (int i = 0; i < conn_count; i++) {
    open_connection(&conns[i], &address, i);
    if (i % 64 == 63) poll_once(0);
  }
  uint64_t deadline_ns = now_ns() + 60000000000u;
  while (ready_count < conn_count) {
    poll_once(100);
    if (now_ns() > deadline_ns) {
      fprintf(stderr, "loadgen: only %d of %d connections have a job after 60 s\n", ready_count, conn_count);
      return 1;
    }
  }
  uint64_t start_ns = now_ns();
  measure_from_ns = start_ns + (uint64_t)(warmup_s * 1e9);
  measure_to_ns = measure_from_ns + (uint64_t)(measure_s * 1e9);
  for (int i = 0; i < conn_count; i++) {
    fill(&conns[i], now_ns());
    flush_out(&conns[i]);
  }
  int is_marked = 0;
  while (now_ns() < measure_to_ns) {
    if (!is_marked && now_ns() >= measure_from_ns) {
      printf("MEASURE\n");
      fflush(stdout);
      is_marked = 1;
    }
    poll_once(10);
  }
  printf("{\"accepted\": %llu, \"rejected\": %llu, \"seconds\": %.3f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"first_refusal\": \"%s\"}\n",
         (unsigned long long)measured_accepted, (unsigned long long)measured_rejected, measure_s, percentile(0.5), percentile(0.99),
         first_refusal);
  return 0;
}
