/*
 * Keeps KVM's static keys of the emulated host from being switched while guests run.
 *
 * KVM patches its own code (kernel/jump_label.c) when the first vCPU with a software-disabled, hardware-disabled or absent local
 * APIC comes and when the last one goes: each start of a guest, in the loop that vCPU threads run. QEMU's multi-threaded TCG can lose
 * such a change: between the invalidation of a translated block and the store that caused it, another CPU may translate the old
 * bytes again. It then runs a breakpoint that nobody waits for any more, and the host kernel dies.
 * One idle vCPU of each kind, held by this process to the end, leaves the keys alone.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define APIC_BASE_ENABLE (1ull << 11)

static int call(int fd, unsigned long request, unsigned long argument, const char *name)
{
	int result = ioctl(fd, request, argument);
	if (result < 0)
		err(1, "%s", name);
	return result;
}

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0)
		err(1, "/dev/kvm");

	int without_apic = call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	call(without_apic, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");

	int with_apic = call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	call(with_apic, KVM_ENABLE_CAP, (unsigned long)&split, "KVM_CAP_SPLIT_IRQCHIP");
	/* Disabled by software, as from reset. */
	call(with_apic, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
	int hardware_disabled = call(with_apic, KVM_CREATE_VCPU, 1, "KVM_CREATE_VCPU");
	struct kvm_sregs sregs;
	call(hardware_disabled, KVM_GET_SREGS, (unsigned long)&sregs, "KVM_GET_SREGS");
	sregs.apic_base &= ~APIC_BASE_ENABLE;
	call(hardware_disabled, KVM_SET_SREGS, (unsigned long)&sregs, "KVM_SET_SREGS");

	/* Ready: whoever started us goes on, a child holds the descriptors. */
	pid_t child = fork();
	if (child < 0)
		err(1, "fork");
	if (child > 0)
		_exit(0);
	for (;;)
		pause();
}
