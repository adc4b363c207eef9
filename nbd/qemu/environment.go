package qemu

// ServerEnvironment returns the settings (NAME=value) that qemu-nbd needs in its environment to write large requests fast.
//
// qemu-nbd allocates a buffer for each request. SBC's requests have up to 32 MiB, and glibc maps and unmaps memory for a buffer of that
// size: 8,192 page faults a request, which cost more time than the disk. With this setting glibc asks the kernel for huge pages
// (madvise(2), MADV_HUGEPAGE): 16 faults. The buffer is unmapped after the request all the same, so an exporter keeps nothing of it.
// glibc 2.35 and later know the setting, others ignore it; it has no effect where /sys/kernel/mm/transparent_hugepage/enabled is "never".
func ServerEnvironment() []string { return []string{"GLIBC_TUNABLES=glibc.malloc.hugetlb=1"} }
