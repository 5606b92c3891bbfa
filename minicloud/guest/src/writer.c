/*
 * SPDX-License-Identifier: Apache-2.0
 *
 *   writer FILE TAG MS  appends a record "NUMBER REALTIME MONOTONIC" every
 *                       MS ms, syncs, and only then says so on the console
 *   writer FILE TAG -   the same, but for each number that it is told on its
 *                       standard input, and with that number
 *   writer -H MS        heartbeat: says so on the console; touches no disk
 *   writer -T DEVICE    prints what is on it: ext4, xfs, blank or other
 *
 * Writing to a frozen file system blocks: W lines stop while H lines go on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int console;

static double now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* One write: lines of several writers do not mix. */
static void say(const char *line, int length)
{
    if (write(console, line, length) < 0)
        return;
}

static void heartbeat(int ms)
{
    char line[64];

    for (unsigned long number = 1;; number++) {
        say(line, snprintf(line, sizeof line, "H %lu mono=%.3f\n", number,
                           now(CLOCK_MONOTONIC)));
        usleep(ms * 1000);
    }
}

static int type(const char *device)
{
    static unsigned char data[65536], zeros[65536];
    int file = open(device, O_RDONLY);

    if (file < 0)
        return 1;
    if (read(file, data, sizeof data) != sizeof data)
        puts("other");
    else if (data[0x438] == 0x53 && data[0x439] == 0xef)
        puts("ext4");
    else if (!memcmp(data, "XFSB", 4))
        puts("xfs");
    else if (!memcmp(data, zeros, sizeof data))
        puts("blank");
    else
        puts("other");
    return 0;
}

/* The number of the last whole record; a torn one is ended by a newline. */
static unsigned long last_record(int file)
{
    char text[257], *start, *end;
    off_t size = lseek(file, 0, SEEK_END);
    off_t from = size > 256 ? size - 256 : 0;
    ssize_t length = pread(file, text, 256, from);
    unsigned long number = 0;

    if (length <= 0)
        return 0;
    text[length] = 0;
    if (text[length - 1] != '\n' && write(file, "\n", 1) < 0)
        return 0;
    start = text;
    if (from && (start = strchr(text, '\n')))
        start++;
    for (; start && (end = strchr(start, '\n')); start = end + 1)
        if (end > start)
            number = strtoul(start, NULL, 10);
    return number;
}

static int records(const char *path, const char *tag, int ms)
{
    char line[128];
    unsigned long number;
    int length, error;
    int file = open(path, O_RDWR | O_CREAT | O_APPEND, 0644);

    if (file < 0) {
        perror(path);
        return 1;
    }
    number = last_record(file);
    say(line, snprintf(line, sizeof line, "WRITER %s after %lu\n", tag,
                       number));
    for (;;) {
        double began, ended;

        if (ms >= 0)
            number++;
        else if (scanf("%lu", &number) != 1)
            return 0;
        began = now(CLOCK_MONOTONIC);
        length = snprintf(line, sizeof line, "%lu %.6f %.6f\n", number,
                          now(CLOCK_REALTIME), began);
        error = 0;
        if (write(file, line, length) != length || fsync(file))
            error = errno ? errno : EIO;
        ended = now(CLOCK_MONOTONIC);
        if (error)
            length = snprintf(line, sizeof line, "W %s %lu ERROR %s\n", tag,
                              number, strerror(error));
        else
            length = snprintf(line, sizeof line,
                              "W %s %lu mono=%.3f us=%.0f\n", tag, number,
                              ended, (ended - began) * 1e6);
        say(line, length);
        if (error)
            sleep(1);
        if (ms >= 0)
            usleep(ms * 1000);
    }
}

int main(int count, char **words)
{
    console = open("/dev/console", O_WRONLY | O_NOCTTY);
    if (console < 0)
        console = 1;
    if (count == 3 && !strcmp(words[1], "-H"))
        heartbeat(atoi(words[2]));
    if (count == 3 && !strcmp(words[1], "-T"))
        return type(words[2]);
    if (count == 4)
        return records(words[1], words[2],
                       strcmp(words[3], "-") ? atoi(words[3]) : -1);
    fputs("usage: writer FILE TAG MS|- | -H MS | -T DEVICE\n", stderr);
    return 2;
}
