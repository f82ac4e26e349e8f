/* A server that answers each line with the line and its ROT13: one thread, epoll, and a
 * send for each receive. What it shows is the least that a system call interface allows:
 * it has no limits and no times, and keeps no log. */
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

enum { RECEIVE_BYTES = 256 * 1024, EVENTS = 1024 };

/* Bytes that wait, of a line that has begun or of a reply that was not taken. */
struct bytes {
    char *at;
    size_t count;
};

struct client {
    int fd;
    struct bytes rest;
    struct bytes unsent;
};

static unsigned char rot13[256];
static int epoll_fd;

/* Both are shared by all clients: nothing is kept in them from one event to the next. */
static char *input;
static char *output;
static size_t output_bytes;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *grown(void *memory, size_t bytes)
{
    memory = realloc(memory, bytes);
    if (!memory)
        die("realloc");
    return memory;
}

static void append(struct bytes *to, const char *from, size_t count)
{
    to->at = grown(to->at, to->count + count);
    memcpy(to->at + to->count, from, count);
    to->count += count;
}

static void clear(struct bytes *of)
{
    free(of->at);
    of->at = NULL;
    of->count = 0;
}

static void watch(struct client *client, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(epoll_fd, operation, client->fd, &event))
        die("epoll_ctl");
}

static void hang_up(struct client *client)
{
    close(client->fd);
    clear(&client->rest);
    clear(&client->unsent);
    free(client);
}

/* Send, and keep what was not taken; meanwhile nothing is read from that client. Return
 * whether the client is still there. */
static int reply(struct client *client, const char *data, size_t count)
{
    ssize_t sent = send(client->fd, data, count, MSG_NOSIGNAL);
    if (sent == (ssize_t)count)
        return 1;
    if (sent < 0 && errno != EAGAIN) {
        hang_up(client);
        return 0;
    }
    append(&client->unsent, data + (sent < 0 ? 0 : sent), count - (size_t)(sent < 0 ? 0 : sent));
    watch(client, EPOLL_CTL_MOD, EPOLLOUT);
    return 1;
}

/* Answer a block of whole lines. */
static void answer(struct client *client, const char *block, size_t count)
{
    if (output_bytes < 2 * count) {
        output_bytes = 2 * count;
        output = grown(output, output_bytes);
    }
    char *to = output;
    for (const char *line = block, *end = block + count; line < end;) {
        size_t length = (size_t)((char *)memchr(line, '\n', (size_t)(end - line)) - line) + 1;
        memcpy(to, line, length);
        to += length;
        for (size_t i = 0; i < length; i++)
            to[i] = (char)rot13[(unsigned char)line[i]];
        to += length;
        line += length;
    }
    reply(client, output, 2 * count);
}

static void receive(struct client *client)
{
    ssize_t count = recv(client->fd, input, RECEIVE_BYTES, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        hang_up(client);
        return;
    }
    char *last = memrchr(input, '\n', (size_t)count);
    size_t whole = last ? (size_t)(last - input) + 1 : 0;
    struct bytes after = {input + whole, (size_t)count - whole};
    if (!whole) {
        append(&client->rest, after.at, after.count);
    } else if (!client->rest.count) {
        if (after.count)
            append(&client->rest, after.at, after.count);
        answer(client, input, whole);
    } else {
        struct bytes block = client->rest;
        append(&block, input, whole);
        client->rest = (struct bytes){0};
        if (after.count)
            append(&client->rest, after.at, after.count);
        answer(client, block.at, block.count);
        clear(&block);
    }
}

static void send_rest(struct client *client)
{
    struct bytes unsent = client->unsent;
    client->unsent = (struct bytes){0};
    if (reply(client, unsent.at, unsent.count) && !client->unsent.count)
        watch(client, EPOLL_CTL_MOD, EPOLLIN);
    clear(&unsent);
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *client = grown(NULL, sizeof *client);
        *client = (struct client){.fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(client, EPOLL_CTL_ADD, EPOLLIN);
    }
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event events[EVENTS];

    for (int byte = 0; byte < 256; byte++)
        rot13[byte] = (unsigned char)byte;
    for (int letter = 0; letter < 26; letter++) {
        rot13['a' + letter] = (unsigned char)('a' + (letter + 13) % 26);
        rot13['A' + letter] = (unsigned char)('A' + (letter + 13) % 26);
    }
    input = grown(NULL, RECEIVE_BYTES);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) ||
        listen(listener, SOMAXCONN) || getsockname(listener, (struct sockaddr *)&address, &length))
        die("listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    struct client listening = {.fd = listener};
    watch(&listening, EPOLL_CTL_ADD, EPOLLIN);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client == &listening)
                accept_all(listener);
            else if (client->unsent.count)
                send_rest(client);
            else
                receive(client);
        }
    }
}
