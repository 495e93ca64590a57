# From the PVH entry point (32-bit protected mode, paging off, EBX = hvm_start_info) or a start-up IPI (16-bit real mode)
# to C in long mode at level 0; interrupt and exception entries; the drop to level 3.
#include "layout.h"

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 8, 18                      # n_namesz, n_descsz, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

    .text
    .code32
    # A payload that must act before anything else defines its own pvh_entry and jumps to runtime_entry.
    .weak pvh_entry
pvh_entry:
    .globl runtime_entry
runtime_entry:
    cli
    cld
    mov %ebx, start_info_address
    mov $cpu_blocks + KERNEL_STACK_TOP, %esp
enter_long_mode:
    lgdt gdt_pointer
    mov %cr4, %eax
    or $0x20, %eax                      # CR4.PAE
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx               # EFER
    rdmsr
    or $0x100, %eax                     # LME
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax                # PG, PE
    mov %eax, %cr0
    ljmp $KERNEL_CS, $long_mode

    .code64
long_mode:
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    call kernel_start                   # (void): never returns
1:  hlt
    jmp 1b

    # void enter_user(void (*function)(void), void *stack_top)
    .globl enter_user
enter_user:
    push $USER_DS
    push %rsi
    push $USER_RFLAGS
    push $USER_CS
    push %rdi
    iretq

    # Interrupt entries: vector number on the stack, then the common part. Exceptions with an error code have their own.
    .altmacro
    .macro interrupt_stub vector
interrupt_stub_\vector:
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17)
    .else
    push $0
    .endif
    push $\vector
    jmp interrupt_common
    .endm
    .set i, 0
    .rept VECTORS
    interrupt_stub %i
    .set i, i + 1
    .endr

interrupt_common:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    mov %rsp, %rdi
    cld
    call interrupt_dispatch             # (struct interrupt_frame *)
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

    # Start-up IPI target; copied to AP_TRAMPOLINE, so every address in it is absolute or relative to its own start.
    .code16
    .globl ap_trampoline
ap_trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl AP_TRAMPOLINE + (ap_gdt_pointer - ap_trampoline)
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $KERNEL_CS32, $ap_protected_mode
    .align 4
ap_gdt_pointer:
    .word GDT_SIZE - 1
    .long gdt
    .globl ap_trampoline_end
ap_trampoline_end:

    .code32
ap_protected_mode:
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov ap_stack, %esp
    jmp enter_long_mode

    .section .rodata
    .align 8
    .globl interrupt_stubs
interrupt_stubs:
    .macro stub_address vector
    .quad interrupt_stub_\vector
    .endm
    .set i, 0
    .rept VECTORS
    stub_address %i
    .set i, i + 1
    .endr

    .data
    .align 4096
    # Identity map of the first 4 GiB in 2 MiB pages, user-accessible so that level 3 reaches all of it. Built here, not
    # by code, because level-0 code is slow where it is interpreted.
    .globl pml4
pml4:
    .quad low_pdpt + 7
    .fill 511, 8, 0
    .globl low_pdpt
low_pdpt:
    .quad low_pd + 7, low_pd + 0x1007, low_pd + 0x2007, low_pd + 0x3007
    .fill 508, 8, 0
low_pd:
    .set i, 0
    .rept 2048
    .quad 0x87 + i * 0x200000
    .set i, i + 1
    .endr

    .align 16
    .globl gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # KERNEL_CS32
    .quad 0x00af9b000000ffff            # KERNEL_CS
    .quad 0x00cf93000000ffff            # KERNEL_DS
    .quad 0x00cffb000000ffff            # 32-bit user code
    .quad 0x00cff3000000ffff            # USER_DS
    .quad 0x00affb000000ffff            # USER_CS
    .quad 0
    .fill MAX_CPUS * 2, 8, 0            # one TSS descriptor a processor, filled at run time
    .globl gdt_pointer
gdt_pointer:
    .word GDT_SIZE - 1
    .quad gdt
    .globl ap_stack
ap_stack:
    .long 0
    .globl start_info_address
start_info_address:
    .quad 0

    .bss
    .globl cpu_blocks
    .align CPU_BLOCK_SIZE
cpu_blocks:
    .skip MAX_CPUS * CPU_BLOCK_SIZE
