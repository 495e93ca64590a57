/** The group that may use KVM in `withKvmGroup`. */
export const KVM_GROUP = "4711";

/**
 * A command that runs another where one group may use KVM, whoever may on this host: before udev has been there, only root may.
 * Takes what `canUnshare` asks for.
 */
export const withKvmGroup = (command: readonly string[]): string[] => [
  ...["unshare", "-m", "--propagation", "private", "sh", "-e", "-c"],
  `kvm="$(stat -c '0x%t 0x%T' /dev/kvm)"
  mount -t tmpfs -o mode=755 nodes /dev/shm
  mknod -m 660 /dev/shm/kvm c $kvm
  chgrp ${KVM_GROUP} /dev/shm/kvm
  mount --bind /dev/shm/kvm /dev/kvm
  umount /dev/shm
  exec "$@"`,
  ...["sh", ...command],
];
