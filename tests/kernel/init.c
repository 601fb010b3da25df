/*
 * /init of the test's guest: loads the modules in their order, says what came of it, powers off.
 *
 * The options are the two lines of /options: the parameters of static_call_test.ko and of
 * static_call_child.ko. What it prints begins with "init: "; its last line is "init: done".
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_CYCLES = 100, EVENT_MILLISECONDS = 200 };

static int failed;

static void fail(const char *what, const char *name)
{
    printf("init: FAIL %s %s: %s\n", what, name, strerror(errno));
    failed = 1;
}

/* Loads /NAME.ko, which may take as long as the test in it does; returns 0 or an errno. */
static int load(const char *name, const char *parameters)
{
    char path[64];
    snprintf(path, sizeof path, "/%s.ko", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 || syscall(SYS_finit_module, fd, parameters, 0) ? errno : 0;
    if (error)
        fail("load", name);
    if (fd >= 0)
        close(fd);
    return error;
}

static void unload(const char *name)
{
    if (syscall(SYS_delete_module, name, O_NONBLOCK))
        fail("unload", name);
}

/* Up to `size` bytes of a file of /proc or /sys, as text; empty where it is not there. */
static size_t read_text(const char *path, char *text, size_t size)
{
    size_t length = 0;
    ssize_t got = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    while (fd >= 0 && length + 1 < size && (got = read(fd, text + length, size - length - 1)) > 0)
        length += (size_t)got;
    if (fd >= 0)
        close(fd);
    text[length] = 0;
    return length;
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    ssize_t done = fd < 0 ? -1 : write(fd, text, strlen(text));
    if (done < 0)
        fail("write", path);
    if (fd >= 0)
        close(fd);
    return done < 0 ? -1 : 0;
}

static void print_line_with(const char *path, const char *word)
{
    static char text[1 << 16];
    read_text(path, text, sizeof text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, word))
            printf("init: %s: %s\n", path, line);
}

/* Loads and unloads a module with static calls in it, while another process does other things. */
static pid_t cycle_child(const char *parameters)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    int done = 0;
    for (; done < CHILD_CYCLES && !failed; done++) {
        if (!load("static_call_child", parameters))
            unload("static_call_child");
        usleep(1000);
    }
    printf("init: child cycles=%d failed=%d\n", done, failed);
    fflush(stdout);
    _exit(failed);
}

/* Tracing by the kernel's own probes, which it calls through its static calls. */
static void trace_events(void)
{
    static char text[1 << 20];
    const char *events[] = {"sched/sched_switch", "kmem/kfree", "kmem/kmalloc"};
    char path[128];

    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < sizeof events / sizeof *events; i++) {
            snprintf(path, sizeof path, "/sys/kernel/tracing/events/%s/enable", events[i]);
            write_text(path, "1");
        }
        usleep(EVENT_MILLISECONDS * 1000);
        write_text("/sys/kernel/tracing/events/enable", "0");
    }
    read_text("/sys/kernel/tracing/trace", text, sizeof text);
    for (unsigned i = 0; i < sizeof events / sizeof *events; i++) {
        const char *name = strchr(events[i], '/') + 1;
        int count = 0;
        char what[64];
        snprintf(what, sizeof what, " %s: ", name);
        for (char *at = text; (at = strstr(at, what)); at++)
            count++;
        printf("init: traced %s=%d\n", name, count);
    }
}

int main(void)
{
    char options[2][512] = {"", ""};
    int status = 0;

    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    if (mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL))
        fail("mount", "tracefs");
    setvbuf(stdout, NULL, _IOLBF, 0);
    FILE *file = fopen("/options", "r");
    for (int i = 0; file && i < 2; i++)
        if (fgets(options[i], sizeof *options, file))
            options[i][strcspn(options[i], "\n")] = 0;

    load("static_call_test", options[0]);
    load("static_call_ballast64", "");
    load("static_call_ballast32", "");
    load("static_call_ballast160", "");
    pid_t child = cycle_child(options[1]);
    if (load("static_call_far", "") == ERANGE) {  /* it runs the test, unless it is near */
        sync();
        reboot(RB_POWER_OFF);
    }
    if (!access("/static_call_count.ko", F_OK))
        load("static_call_count", "");
    waitpid(child, &status, 0);
    if (status)
        failed = 1;
    trace_events();
    if (!access("/static_call_count.ko", F_OK))
        unload("static_call_count");
    unload("static_call_far");
    unload("static_call_ballast160");
    unload("static_call_ballast32");
    unload("static_call_ballast64");
    unload("static_call_test");

    print_line_with("/proc/sys/kernel/tainted", "");
    print_line_with("/proc/lockdep_stats", "debug_locks:");
    printf("init: %s\ninit: done\n", failed ? "FAIL" : "PASS");
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
