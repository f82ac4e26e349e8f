/* The load: clients of a line server, which check every byte of every reply.
 *
 * One thread drives all connections, so that it is cheap beside what it measures. It says
 * "begin" and "end" on standard output around the stretch that counts, with no line in
 * flight, and each time waits for a line on standard input: whoever started it reads the
 * server's processor time meanwhile. Last it prints one line of JSON. The exit status is 0
 * if all replies were right; otherwise it is 1, and standard error says what was wrong.
 *
 *   roundtrip  every connection has one line in flight, and sends the next when the reply
 *              to that is complete
 *   pipelined  every connection keeps a window of bytes unanswered, and reads as it writes
 *   churn      connect, one line, its reply, close
 *   idle       open connections that have each exchanged a line, and do nothing
 *
 * Compiled with -DTLS, it does all but churn over TLS 1.3, of one kind whatever the server
 * would rather have, and the server has to show the certificate that is given.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef TLS
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

/* So many are opened at a time before a line is exchanged on each: ncat's backlog is 10. */
enum { OPENED_AT_ONCE = 8 };

/* What the idle connections are compared with has some connections too, so that what a
 * server allocates once, with its first clients, is not counted. */
enum { OPEN_BEFOREHAND = 100 };

/* A connection has so many different lines in a closed loop. */
enum { LINES_EACH = 16 };

enum { EVENTS = 1024 };
enum { RECEIVE_BYTES = 256 * 1024 };

/* Silence for so long is a fault of the server. */
enum { PATIENCE_MS = 30 * 1000 };

static const char *mode;
static int port;
static int connections = 50;
static size_t line_bytes = 26; /* its LF included */
static double warmup = 0.5, seconds = 2;
static size_t window = 64 * 1024;
static int code_only; /* tr has no echo */

struct connection {
    int fd;
#ifdef TLS
    SSL *tls;
#endif
    char *sends;   /* whole lines, sent over and over */
    char *expects; /* the replies to those */
    size_t bytes;  /* of `sends` */
    uint64_t sent, received;
    uint64_t since; /* when the line in flight was sent, in ns */
    uint64_t trips; /* closed loop: round trips that count */
};

static struct connection *all;
static size_t reply_factor; /* bytes of reply for a byte of line */
static int epoll_fd;
static char *received_bytes;

_Noreturn static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

_Noreturn static void fail_errno(const char *what) { fail("%s: %s", what, strerror(errno)); }

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory)
        fail("out of memory");
    return memory;
}

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now(void) { return nanoseconds(CLOCK_MONOTONIC); }

/* ---- latencies: a histogram whose cells are at most 1/128 of their value wide ---- */

enum { CELL_BITS = 7, CELLS = 64 << CELL_BITS };
static uint64_t histogram[CELLS];
static uint64_t slowest;

static void record(uint64_t ns)
{
    unsigned shift = 0;
    if (ns >> (CELL_BITS + 1))
        shift = 63u - (unsigned)__builtin_clzll(ns) - CELL_BITS;
    histogram[(shift << CELL_BITS) + (ns >> shift)]++;
    if (ns > slowest)
        slowest = ns;
}

/* Return the latency, in ns, that the given share of the round trips did not exceed. */
static double quantile(double share)
{
    uint64_t total = 0, seen = 0;
    for (unsigned cell = 0; cell < CELLS; cell++)
        total += histogram[cell];
    for (unsigned cell = 0; cell < CELLS; cell++) {
        seen += histogram[cell];
        if (seen && (double)seen >= share * (double)total) {
            unsigned shift = cell >> CELL_BITS;
            if (shift)
                shift--;
            return ((double)(cell - (shift << CELL_BITS)) + 0.5) * (double)(1ull << shift);
        }
    }
    return 0;
}

/* ---- lines ---- */

static char rot13(char c)
{
    if (c >= 'a' && c <= 'z')
        return (char)('a' + (c - 'a' + 13) % 26);
    if (c >= 'A' && c <= 'Z')
        return (char)('A' + (c - 'A' + 13) % 26);
    return c;
}

/* Write line `number` of `owner`: letters that say whose it is as far as there is room,
 * then any bytes but CR and LF, half of them letters. */
static void make_line(char *line, unsigned owner, unsigned number)
{
    uint64_t state = 0x9e3779b97f4a7c15u ^ ((uint64_t)owner << 32 | number);
    size_t body = line_bytes - 1;
    for (size_t i = 0; i < body; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        unsigned char any = (unsigned char)(state >> 32);
        line[i] = any & 1 || any == '\n' || any == '\r' ? (char)('a' + (any >> 1) % 26) : (char)any;
    }
    for (size_t i = 0; i < 4 && i < body; i++, owner /= 26)
        line[i] = (char)('a' + owner % 26);
    for (size_t i = 4; i < 8 && i < body; i++, number /= 26)
        line[i] = (char)('A' + number % 26);
    line[body] = '\n';
}

static void make_lines(struct connection *c, unsigned owner, unsigned lines)
{
    c->bytes = lines * line_bytes;
    c->sends = allocate(c->bytes * (1 + reply_factor));
    c->expects = c->sends + c->bytes;
    for (unsigned number = 0; number < lines; number++) {
        char *line = c->sends + number * line_bytes;
        char *reply = c->expects + number * line_bytes * reply_factor;
        make_line(line, owner, number);
        if (!code_only) {
            memcpy(reply, line, line_bytes);
            reply += line_bytes;
        }
        for (size_t i = 0; i < line_bytes; i++)
            reply[i] = rot13(line[i]);
    }
}

/* ---- connections ---- */

static int connect_from(uint32_t source)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail_errno("socket");
    if (source) {
        address.sin_addr.s_addr = htonl(source);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&address, sizeof address))
            fail_errno("bind");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        fail_errno("connect");
    return fd;
}

/* ---- bytes: plain ones, or by TLS; neither sending nor receiving waits ---- */

#ifndef TLS

static const char modes[] = "roundtrip|pipelined|churn|idle";

static void secure(struct connection *c) { (void)c; }

/* Return how many bytes were sent; nothing if the socket is full. */
static size_t send_bytes(struct connection *c, const char *from, size_t bytes)
{
    ssize_t taken = send(c->fd, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0 && errno == EAGAIN)
        return 0;
    if (taken < 0)
        fail("connection %td: send: %s", c - all, strerror(errno));
    return (size_t)taken;
}

/* Return how many bytes have come. */
static size_t receive_bytes(struct connection *c)
{
    ssize_t count = recv(c->fd, received_bytes, RECEIVE_BYTES, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN)
        return 0;
    if (count < 0)
        fail("connection %td: recv: %s", c - all, strerror(errno));
    if (count == 0)
        fail("connection %td: the server closed it", c - all);
    return (size_t)count;
}

static int has_more(struct connection *c)
{
    (void)c;
    return 0;
}

#else

static const char modes[] = "roundtrip|pipelined|idle";

static const char *certificate; /* a file: the server's own, trusted for that alone */
static SSL_CTX *context;

_Noreturn static void fail_tls(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    fail("%s: %s", what, reason ? reason : "the connection broke");
}

static void prepare_tls(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(context, "X25519"))
        fail_tls("TLS");
    if (!SSL_CTX_load_verify_locations(context, certificate, NULL))
        fail_tls(certificate);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1); /* or each record would take two calls of the system */
}

/* Have TLS on a connection; this waits for the server. */
static void secure(struct connection *c)
{
    c->tls = SSL_new(context);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd) || SSL_connect(c->tls) != 1)
        fail_tls("the handshake");
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK))
        fail_errno("fcntl");
}

/* Return nothing if it was only that it would have had to wait. */
static size_t zero_or_fail(struct connection *c, int result)
{
    int why = SSL_get_error(c->tls, result);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        fail_tls("sending or receiving");
    return 0;
}

static size_t send_bytes(struct connection *c, const char *from, size_t bytes)
{
    size_t taken;
    ERR_clear_error();
    int result = SSL_write_ex(c->tls, from, bytes, &taken);
    return result == 1 ? taken : zero_or_fail(c, result);
}

static size_t receive_bytes(struct connection *c)
{
    size_t count;
    ERR_clear_error();
    int result = SSL_read_ex(c->tls, received_bytes, RECEIVE_BYTES, &count);
    return result == 1 ? count : zero_or_fail(c, result);
}

/* Return whether bytes have been read ahead, which epoll can't know of. */
static int has_more(struct connection *c) { return SSL_pending(c->tls) || SSL_has_pending(c->tls); }

#endif

static void wait_for_input(struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
        fail_errno("epoll_ctl");
}

static int ready(struct epoll_event *events)
{
    int count = epoll_wait(epoll_fd, events, EVENTS, PATIENCE_MS);
    if (count < 0)
        fail_errno("epoll_wait");
    if (count == 0)
        fail("no reply for %d s", PATIENCE_MS / 1000);
    return count;
}

/* Send up to `bytes` of what comes next; return how many were taken. */
static size_t send_next(struct connection *c, size_t bytes)
{
    size_t at = c->sent % c->bytes;
    if (bytes > c->bytes - at)
        bytes = c->bytes - at;
    size_t taken = send_bytes(c, c->sends + at, bytes);
    c->sent += taken;
    return taken;
}

static void check(struct connection *c, size_t left)
{
    if (c->received + left > c->sent * reply_factor)
        fail("connection %td: more than the reply came back", c - all);
    for (const char *from = received_bytes; left;) {
        size_t at = c->received % (c->bytes * reply_factor);
        size_t part = c->bytes * reply_factor - at;
        if (part > left)
            part = left;
        if (memcmp(from, c->expects + at, part))
            fail("connection %td: a reply differs, in bytes %ju to %ju of its replies", c - all,
                 (uintmax_t)c->received, (uintmax_t)(c->received + part));
        c->received += part, from += part, left -= part;
    }
}

/* Receive what there is, and check it. */
static void receive(struct connection *c)
{
    size_t count;
    do
        check(c, count = receive_bytes(c));
    while (count && has_more(c));
}

static int is_answered(const struct connection *c) { return c->received == c->sent * reply_factor; }

static void send_line(struct connection *c)
{
    if (send_next(c, line_bytes) != line_bytes)
        fail("connection %td: a line was not taken at once", c - all);
    c->since = now();
}

/* Exchange a line on each of a range of connections. */
static void exchange(int from, int to)
{
    struct epoll_event events[EVENTS];
    int left = to - from;
    for (int i = from; i < to; i++)
        send_line(&all[i]);
    while (left)
        for (int i = 0, count = ready(events); i < count; i++) {
            struct connection *c = events[i].data.ptr;
            receive(c);
            left -= is_answered(c);
        }
}

static void open_connections(int from, int to)
{
    while (from < to) {
        int until = from + OPENED_AT_ONCE < to ? from + OPENED_AT_ONCE : to;
        for (int i = from; i < until; i++) {
            all[i].fd = connect_from(0);
            secure(&all[i]);
            wait_for_input(&all[i]);
        }
        exchange(from, until);
        from = until;
    }
}

/* ---- marks ---- */

static uint64_t started, own_started;
static double wall, own;

static void mark(const char *name)
{
    char line[16];
    puts(name);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        fail("standard input ended");
}

static void begin(void)
{
    mark("begin");
    memset(histogram, 0, sizeof histogram);
    slowest = 0;
    for (int i = 0; i < connections; i++)
        all[i].trips = 0;
    own_started = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    started = now();
}

static void stop_clock(void)
{
    wall = (double)(now() - started) / 1e9;
    own = (double)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - own_started) / 1e9;
}

static void print_result(uint64_t lines)
{
    printf("{\"mode\": \"%s\", \"connections\": %d, \"line_bytes\": %zu, \"lines\": %ju, "
           "\"wall_s\": %.9f, \"load_cpu_s\": %.9f",
           mode, connections, line_bytes, (uintmax_t)lines, wall, own);
    if (!strcmp(mode, "roundtrip")) {
        uint64_t least = all[0].trips, most = least;
        for (int i = 1; i < connections; i++) {
            least = all[i].trips < least ? all[i].trips : least;
            most = all[i].trips > most ? all[i].trips : most;
        }
        printf(", \"trips_per_connection\": [%ju, %ju]", (uintmax_t)least, (uintmax_t)most);
    }
    if (slowest) {
        printf(", \"latency_ns\": {\"p50\": %.0f, \"p90\": %.0f, \"p99\": %.0f, \"p99.9\": %.0f, "
               "\"max\": %ju}",
               quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), (uintmax_t)slowest);
    }
    puts("}");
}

/* ---- the four modes ---- */

static uint64_t deadline_after(double duration) { return now() + (uint64_t)(duration * 1e9); }

/* Keep a line in flight on every connection for a time; return how many were answered. */
static uint64_t round_trips(double duration)
{
    struct epoll_event events[EVENTS];
    uint64_t deadline = deadline_after(duration), trips = 0;
    int in_flight = connections;
    for (int i = 0; i < connections; i++)
        send_line(&all[i]);
    while (in_flight) {
        int count = ready(events);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            receive(c);
            if (!is_answered(c))
                continue;
            uint64_t at = now();
            record(at - c->since);
            trips++;
            c->trips++;
            if (at < deadline)
                send_line(c);
            else
                in_flight--;
        }
    }
    return trips;
}

static void roundtrip(void)
{
    for (int i = 0; i < connections; i++)
        make_lines(&all[i], (unsigned)i, LINES_EACH);
    open_connections(0, connections);
    round_trips(warmup);
    begin();
    uint64_t trips = round_trips(seconds);
    stop_clock();
    mark("end");
    print_result(trips);
}

/* Send as much as the window has room for, unless that is too little to be worth a call. */
static void fill(struct connection *c)
{
    for (;;) {
        size_t unanswered = (size_t)(c->sent - c->received / reply_factor);
        size_t room = window > unanswered ? window - unanswered : 0;
        if (room < window / 4 || !send_next(c, room))
            return;
    }
}

/* Keep all windows full for a time, and finish the lines; return how many were answered. */
static uint64_t streams(double duration)
{
    struct epoll_event events[EVENTS];
    uint64_t deadline = deadline_after(duration), before = 0, after = 0;
    int busy = connections;
    for (int i = 0; i < connections; i++) {
        before += all[i].received;
        fill(&all[i]);
    }
    while (busy) {
        int count = ready(events);
        int over = now() >= deadline;
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            receive(c);
            if (!over)
                fill(c);
        }
        if (!over)
            continue;
        busy = 0;
        for (int i = 0; i < connections; i++) {
            size_t begun = all[i].sent % line_bytes;
            if (begun)
                send_next(&all[i], line_bytes - begun);
            busy += !is_answered(&all[i]);
        }
    }
    for (int i = 0; i < connections; i++)
        after += all[i].received;
    return (after - before) / (line_bytes * reply_factor);
}

static void pipelined(void)
{
    unsigned lines = (unsigned)(window / line_bytes);
    for (int i = 0; i < connections; i++)
        make_lines(&all[i], (unsigned)i, lines ? lines : 1);
    open_connections(0, connections);
    streams(warmup);
    begin();
    uint64_t answered = streams(seconds);
    stop_clock();
    mark("end");
    print_result(answered);
}

#ifndef TLS

/* Keep `connections` at a time under way, and read the replies in the order of connecting.
 *
 * The client closes first, in order and without a reset, which some servers would log as
 * an error; so its port stays taken for a minute. There are 28,000 ports for a source
 * address, and so the connections come from many: all of 127.0.0.0/8 is this machine. */
static uint64_t churn_for(double duration)
{
    enum { SOURCES = 250 };
    static uint64_t made;
    uint64_t deadline = deadline_after(duration), opened = 0, closed = 0;
    uint64_t base = made;
    while (opened == 0 || closed < opened) {
        if (opened - closed < (uint64_t)connections && now() < deadline) {
            struct connection *c = &all[opened++ % (uint64_t)connections];
            c->fd = connect_from(INADDR_LOOPBACK + 256 + (uint32_t)(made++ % SOURCES));
            send_line(c);
            continue;
        }
        struct connection *c = &all[closed++ % (uint64_t)connections];
        size_t reply = line_bytes * reply_factor;
        ssize_t count = recv(c->fd, received_bytes, reply, MSG_WAITALL);
        if (count < 0)
            fail_errno("recv");
        size_t at = c->received % (c->bytes * reply_factor);
        if ((size_t)count != reply || memcmp(received_bytes, c->expects + at, reply))
            fail("a reply differs, on connection %ju", (uintmax_t)(base + closed));
        c->received += reply;
        record(now() - c->since);
        close(c->fd);
    }
    return closed;
}

static void churn(void)
{
    for (int i = 0; i < connections; i++)
        make_lines(&all[i], (unsigned)i, LINES_EACH);
    churn_for(warmup);
    usleep(50 * 1000); /* the server notices the last ends of input */
    begin();
    uint64_t made = churn_for(seconds);
    stop_clock();
    usleep(50 * 1000);
    mark("end");
    print_result(made);
}

#endif

static void idle(void)
{
    int total = connections + OPEN_BEFOREHAND;
    all = realloc(all, (size_t)total * sizeof *all);
    if (!all)
        fail("out of memory");
    memset(all, 0, (size_t)total * sizeof *all);
    for (int i = 0; i < total; i++)
        make_lines(&all[i], (unsigned)i, 2);
    open_connections(0, OPEN_BEFOREHAND);
    begin();
    open_connections(OPEN_BEFOREHAND, total);
    stop_clock();
    mark("end");
    exchange(0, total); /* they are all still served */
    print_result((uint64_t)connections);
}

/* ---- the command line ---- */

static void out_of_time(int signal)
{
    static const char words[] = "load: the server took too long\n";
    (void)signal;
    (void)!write(STDERR_FILENO, words, sizeof words - 1);
    _exit(1);
}

static const char usage[] =
    "usage: load %s PORT [OPTION]...\n"
    "  --connections N   at once [50]\n"
    "  --line BYTES      of a line, its LF included [26]\n"
    "  --warmup SECONDS  that do not count [0.5]\n"
    "  --seconds SECONDS that do [2]\n"
    "  --window BYTES    unanswered on a connection, for pipelined [65536]\n"
    "  --code-only       the server sends no echo\n"
#ifdef TLS
    "  --certificate PEM the server's\n"
#endif
    ;

static int misused(void)
{
    fprintf(stderr, usage, modes);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"connections", required_argument, 0, 'n'}, {"line", required_argument, 0, 'l'},
        {"warmup", required_argument, 0, 'w'},      {"seconds", required_argument, 0, 's'},
        {"window", required_argument, 0, 'b'},      {"code-only", no_argument, &code_only, 1},
#ifdef TLS
        {"certificate", required_argument, 0, 'c'},
#endif
        {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, 0)) != -1;)
        switch (option) {
        case 'n': connections = atoi(optarg); break;
        case 'l': line_bytes = strtoul(optarg, 0, 10); break;
        case 'w': warmup = atof(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'b': window = strtoul(optarg, 0, 10); break;
#ifdef TLS
        case 'c': certificate = optarg; break;
#endif
        case 0: break;
        default: return misused();
        }
    if (argc - optind != 2 || connections < 1 || line_bytes < 2 || window < line_bytes)
        return misused();
    mode = argv[optind];
    port = atoi(argv[optind + 1]);
    reply_factor = code_only ? 1 : 2;
    /* Whatever goes wrong, there is an end. */
    signal(SIGALRM, out_of_time);
    alarm((unsigned)(warmup + seconds) + 4 * PATIENCE_MS / 1000);
    all = calloc((size_t)connections, sizeof *all);
    received_bytes = allocate(RECEIVE_BYTES);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!all || epoll_fd < 0)
        fail_errno("start");
#ifdef TLS
    if (!certificate)
        return misused();
    prepare_tls();
#endif
    if (!strcmp(mode, "roundtrip"))
        roundtrip();
    else if (!strcmp(mode, "pipelined"))
        pipelined();
    else if (!strcmp(mode, "idle"))
        idle();
#ifndef TLS
    else if (!strcmp(mode, "churn"))
        churn();
#endif
    else
        return misused();
    return 0;
}
