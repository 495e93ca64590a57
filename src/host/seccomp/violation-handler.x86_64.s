# The handler of SIGSYS under a filter that traps: says which thread made which system call, and ends the process by the same
# signal. No JavaScript can run here: the thread may be anywhere, in the middle of a collection too. It makes no call that a
# filter does not allow (seccomp/x86_64/common.json), needs no C library and no relocation, and never returns.
#
# Entered with rdi the signal, rsi siginfo_t *, rdx ucontext_t *.

    .intel_syntax noprefix
    .set SYSCALL_NUMBER, 24             # siginfo_t.si_syscall
    .set SYSCALL_ARCH, 28               # siginfo_t.si_arch
    .set SIGSYS, 31
    .set PR_GET_NAME, 16
    .set STDERR, 2

    cld
    mov rbx, rsi
    sub rsp, 192                        # the message, with room for any name
    mov rdi, rsp

    lea rsi, [rip + prefix]
    mov ecx, offset prefix_end - prefix
    rep movsb

    mov eax, [rbx + SYSCALL_NUMBER]     # in decimal: digits come last one first
    xor ecx, ecx
    mov r8d, 10
1:  xor edx, edx
    div r8d
    push rdx
    inc ecx
    test eax, eax
    jnz 1b
2:  pop rax
    add al, '0'
    stosb
    dec ecx
    jnz 2b

    lea rsi, [rip + arch]
    mov ecx, offset arch_end - arch
    rep movsb

    mov eax, [rbx + SYSCALL_ARCH]       # in hexadecimal
    mov ecx, 8
    lea r9, [rip + digits]
3:  rol eax, 4
    mov edx, eax
    and edx, 15
    mov dl, [r9 + rdx]
    mov [rdi], dl
    inc rdi
    dec ecx
    jnz 3b

    lea rsi, [rip + thread]
    mov ecx, offset thread_end - thread
    rep movsb

    mov r12, rdi                        # prctl(PR_GET_NAME, end of the message)
    mov eax, 157
    mov edi, PR_GET_NAME
    mov rsi, r12
    syscall
4:  cmp byte ptr [r12], 0
    je 5f
    inc r12
    jmp 4b
5:  mov byte ptr [r12], '\n'
    inc r12

    mov eax, 1                          # write(2, message, length)
    mov edi, STDERR
    mov rsi, rsp
    mov rdx, r12
    sub rdx, rsp
    syscall

    xor eax, eax                        # rt_sigaction(SIGSYS, default action, NULL, 8)
    mov rdi, rsp
    mov ecx, 4
    rep stosq
    mov eax, 13
    mov edi, SIGSYS
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    syscall

    mov eax, 39                         # tgkill(getpid(), gettid(), SIGSYS)
    syscall
    mov r12d, eax
    mov eax, 186
    syscall
    mov edi, r12d
    mov esi, eax
    mov edx, SIGSYS
    mov eax, 234
    syscall
    hlt                                 # not reached: the signal is not blocked in its handler

prefix:
    .ascii "Probable seccomp violation: si_syscall="
prefix_end:
arch:
    .ascii " si_arch=0x"
arch_end:
thread:
    .ascii " thread="
thread_end:
digits:
    .ascii "0123456789abcdef"
