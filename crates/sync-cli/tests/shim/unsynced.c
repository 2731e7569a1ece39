/* Records what a process writes below one folder and when it syncs, so that a test can rebuild the folder as a power cut
 * would have left it: without anything that was not synced. kill -9 alone leaves the page cache and proves nothing.
 *
 * Built with `cc -shared -fPIC -O1 -o unsynced.so unsynced.c -ldl -lpthread` and loaded through LD_PRELOAD.
 *   KSYNC_SHIM_DIR   the folder, absolute and without symbolic links
 *   KSYNC_SHIM_LOG   where records go; the file outlives the process
 *   KSYNC_SHIM_LIE   if set, syncs are not recorded: the negative control, a disk that lies
 *
 * A record: one byte of kind, then u16 length of the path, u64 offset, u32 length of the data, all little-endian, then
 * path (relative to the folder) and data. Kinds: 'W' write, 'T' truncate to offset, 'S' synced, 'U' unlinked, 'R' renamed
 * (the data is the new path). A write is recorded before it is done, a sync after it is done.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

static char *names[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *folder;
static size_t folder_length;
static int lie;

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("KSYNC_SHIM_LOG");
    folder = getenv("KSYNC_SHIM_DIR");
    lie = getenv("KSYNC_SHIM_LIE") != NULL;
    if (!log || !folder) return;
    folder_length = strlen(folder);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
}

static const char *below(const char *path) {
    if (log_fd < 0 || !path || strncmp(path, folder, folder_length) != 0 || path[folder_length] != '/') return NULL;
    return path + folder_length + 1;
}

static void record(char kind, const char *name, uint64_t offset, const void *data, uint32_t length) {
    uint16_t path_length = (uint16_t)strlen(name);
    char head[15];
    head[0] = kind;
    memcpy(head + 1, &path_length, 2);
    memcpy(head + 3, &offset, 8);
    memcpy(head + 11, &length, 4);
    struct iovec parts[3] = {{head, sizeof head}, {(void *)name, path_length}, {(void *)data, length}};
    size_t whole = sizeof head + path_length + length;
    /* One call, so that a kill leaves the record whole or leaves it out. A short write would spoil the log. */
    if ((size_t)syscall(SYS_writev, log_fd, parts, 3) != whole) abort();
}

static void opened(int fd, const char *path, int flags) {
    const char *name = below(path);
    if (fd < 0 || fd >= FILES || !name) return;
    pthread_mutex_lock(&lock);
    free(names[fd]);
    names[fd] = strdup(name);
    if (flags & O_TRUNC) record('T', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}

static const char *name_of(int fd) { return log_fd >= 0 && fd >= 0 && fd < FILES ? names[fd] : NULL; }

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                                  \
    int name(const char *path, int flags, ...) {                                    \
        REAL(name);                                                                 \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;   \
        va_end(rest);                                                               \
        int fd = real(path, flags, mode);                                           \
        opened(fd, path, flags);                                                    \
        return fd;                                                                  \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                \
    int name(int at, const char *path, int flags, ...) {                            \
        REAL(name);                                                                 \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;   \
        va_end(rest);                                                               \
        int fd = real(at, path, flags, mode);                                       \
        opened(fd, path, flags);                                                    \
        return fd;                                                                  \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    REAL(close);
    if (name_of(fd)) {
        pthread_mutex_lock(&lock);
        free(names[fd]);
        names[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

#define PWRITE(name)                                                                \
    ssize_t name(int fd, const void *data, size_t length, off64_t offset) {         \
        REAL(name);                                                                 \
        const char *file = name_of(fd);                                             \
        if (!file) return real(fd, data, length, offset);                           \
        pthread_mutex_lock(&lock);                                                  \
        record('W', file, (uint64_t)offset, data, (uint32_t)length);                \
        ssize_t done = real(fd, data, length, offset);                              \
        pthread_mutex_unlock(&lock);                                                \
        return done;                                                                \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    const char *file = name_of(fd);
    if (!file) return real(fd, data, length);
    pthread_mutex_lock(&lock);
    int appends = fcntl(fd, F_GETFL) & O_APPEND;
    off_t at = lseek(fd, 0, appends ? SEEK_END : SEEK_CUR);
    if (at >= 0) record('W', file, (uint64_t)at, data, (uint32_t)length);
    ssize_t done = real(fd, data, length);
    pthread_mutex_unlock(&lock);
    return done;
}

#define TRUNCATE(name)                                                              \
    int name(int fd, off64_t length) {                                              \
        REAL(name);                                                                 \
        const char *file = name_of(fd);                                             \
        if (!file) return real(fd, length);                                         \
        pthread_mutex_lock(&lock);                                                  \
        record('T', file, (uint64_t)length, NULL, 0);                               \
        int done = real(fd, length);                                                \
        pthread_mutex_unlock(&lock);                                                \
        return done;                                                                \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                                                  \
    int name(int fd) {                                                              \
        REAL(name);                                                                 \
        const char *file = name_of(fd);                                             \
        if (!file) return real(fd);                                                 \
        pthread_mutex_lock(&lock);                                                  \
        int done = real(fd);                                                        \
        if (done == 0 && !lie) record('S', file, 0, NULL, 0);                       \
        pthread_mutex_unlock(&lock);                                                \
        return done;                                                                \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    REAL(unlink);
    const char *name = below(path);
    if (!name) return real(path);
    pthread_mutex_lock(&lock);
    record('U', name, 0, NULL, 0);
    int done = real(path);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    const char *name = below(from), *target = below(to);
    if (!name || !target) return real(from, to);
    pthread_mutex_lock(&lock);
    record('R', name, 0, target, (uint32_t)strlen(target));
    int done = real(from, to);
    pthread_mutex_unlock(&lock);
    return done;
}
