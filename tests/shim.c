/* A file system that can do less, for LD_PRELOAD: each variable is the errno with which a call fails.

   SHIM_FLOCK       flock
   SHIM_SYNC_FOLDER fsync of a folder
   SHIM_SYNC        fsync of a file whose path matches SHIM_PATH (fnmatch)
   SHIM_RENAME      rename to a path that matches SHIM_PATH
   SHIM_SLOW        no errno: every rename takes so many microseconds
   SHIM_SEMAPHORE   sem_open, which needs /dev/shm
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int failing(const char *variable) {
    const char *value = getenv(variable);
    return value ? atoi(value) : 0;
}

static int matches(const char *path) {
    const char *pattern = getenv("SHIM_PATH");
    return pattern && fnmatch(pattern, path, 0) == 0;
}

static int fail(int number) {
    errno = number;
    return -1;
}

int flock(int descriptor, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    int number = failing("SHIM_FLOCK");
    return number ? fail(number) : real(descriptor, operation);
}

int fsync(int descriptor) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    struct stat status;
    char link[64], path[4096];
    if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode) && failing("SHIM_SYNC_FOLDER"))
        return fail(failing("SHIM_SYNC_FOLDER"));
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0 && failing("SHIM_SYNC")) {
        path[length] = 0;
        if (matches(path))
            return fail(failing("SHIM_SYNC"));
    }
    return real(descriptor);
}

int rename(const char *old, const char *new) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    usleep(failing("SHIM_SLOW"));
    return failing("SHIM_RENAME") && matches(new) ? fail(failing("SHIM_RENAME")) : real(old, new);
}

sem_t *sem_open(const char *name, int flags, ...) {
    if (failing("SHIM_SEMAPHORE")) {
        errno = failing("SHIM_SEMAPHORE");
        return SEM_FAILED;
    }
    sem_t *(*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "sem_open");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    unsigned value = flags & O_CREAT ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    return real(name, flags, mode, value);
}
