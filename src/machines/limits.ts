/** Machines of one server. A fleet beyond this wants several boot servers. */
export const MACHINES_MAX = 10_000;

/** Machines that introduced themselves and that nobody has named yet: a room of classrooms. */
export const UNREGISTERED_MAX = 1_024;

/** An unregistered machine not seen for so long gives its place to a new one when all are taken. */
export const UNREGISTERED_IDLE_MS = 60 * 60 * 1000;

/** Introductions: a classroom at once (256), then 20 a second: a flood of MACs costs nothing. */
export const INTRODUCTIONS_BURST = 256;
export const INTRODUCTIONS_PER_SECOND = 20;

/** Network cards of one machine. */
export const MACS_MAX = 16;

/** Drives of one machine: BIOS numbers 0x80 to 0x87. */
export const DRIVES_MAX = 8;

/** Files that one kernel may be given; iPXE holds them all in memory. */
export const INITRDS_MAX = 16;

/** COMMAND_LINE_SIZE of Linux on x86. */
export const CMDLINE_BYTES_MAX = 2_048;

/** A custom iPXE script; iPXE reads scripts into its heap of 512 KiB. */
export const SCRIPT_BYTES_MAX = 64 * 1024;

/** RFC 7143 §12.1.3 (and RFC 3720 before it): a CHAP secret has at least 96 bits. */
export const CHAP_SECRET_BYTES_MIN = 12;
export const CHAP_SECRET_BYTES_MAX = 255;

/** How fresh `seenAtMs` is kept: one write a minute for a machine that keeps asking. */
export const SEEN_RESOLUTION_MS = 60_000;
