/* Lets User-mode Linux 6.1 run on processors with AMX; preloaded by scripts/uml_netem_test.py.
 *
 * The problem: it keeps a process's floating-point state in a buffer that is smaller than what such
 * a processor has, and Linux refuses to set less than the whole (PTRACE_SETREGSET with
 * NT_X86_XSTATE: EFAULT). The solution: read the whole state of that moment, put what User-mode
 * Linux gives over its beginning, and set that. What lies beyond is AMX's, which it never uses.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static char whole[65536];

long ptrace(enum __ptrace_request request, ...) {
    static long (*real)(int, pid_t, void *, void *);
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (real == NULL) {
        real = (long (*)(int, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
    }
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
        struct iovec *given = data;
        struct iovec now = {whole, sizeof(whole)};
        if (real(PTRACE_GETREGSET, pid, address, &now) == 0 && given->iov_len < now.iov_len) {
            memcpy(whole, given->iov_base, given->iov_len);
            return real(PTRACE_SETREGSET, pid, address, &now);
        }
    }
    return real(request, pid, address, data);
}
