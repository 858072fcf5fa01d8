/**
 * Every bound of the iSCSI target. All memory that a peer can make us hold follows from these.
 *
 * One connection at rest holds its task pool and nothing else. At work it holds at most
 * OUTPUT_BYTES_MAX of unsent output, COLD_READ_BYTES_MAX of reads that the device has not answered,
 * and one data segment when data digests are on: some 5 MiB. Of writes in the same state it may
 * hold COLD_WRITE_ASK_BYTES, up to COLD_WRITE_BYTES_MAX while all connections of the worker
 * together hold no more than COLD_WRITES_BYTES_MAX, plus one receive buffer: only of a disk that
 * stalls.
 */

/** Data that a peer may send before login: RFC 7143 §13.12, the default before it is negotiated. */
export const LOGIN_SEGMENT_BYTES_MAX = 8192;
/** All text of one negotiation sequence, over its C-bit continuations. 64 KiB = 8 full PDUs. */
export const TEXT_BYTES_MAX = 64 * 1024;
/** Keys in one negotiation sequence: RFC 7143 §13 knows 27; the rest are somebody's extensions. */
export const TEXT_KEYS_MAX = 128;
/** A key-value pair (RFC 7143 §6.1): key 63 bytes, value 8192. */
export const KEY_BYTES_MAX = 63;
export const VALUE_BYTES_MAX = 8192;
/** An iSCSI name (RFC 7143 §4.2.7.2). */
export const NAME_BYTES_MAX = 223;
/** Login requests of one login; a real one takes 2 to 5. */
export const LOGIN_ROUNDS_MAX = 32;
/** From accept to full feature phase. */
export const LOGIN_DEADLINE_MS = 10_000;
/**
 * Connections of one address that have not logged in: a hall behind NAT powers on, 64 at a time.
 */
export const HALF_OPEN_PER_ADDRESS_MAX = 64;
/**
 * The same over all addresses; each holds a socket and about 20 KiB. Beyond it the oldest of the
 * address that has most makes room: a flood costs itself, not a machine that boots.
 */
export const HALF_OPEN_MAX = 1024;
/** Logged-in connections of one server. */
export const CONNECTIONS_MAX = 4096;
/** Discovery sessions of one address, and in all: anybody may open one, for a moment. */
export const DISCOVERY_PER_ADDRESS_MAX = 32;
export const DISCOVERY_MAX = 256;
/** Discovery takes a second; open-iscsi's discoveryd asks again on a new connection. */
export const DISCOVERY_LIFE_MS = 300_000;
/** Between two log lines about peers that are turned away for the same reason. */
export const REFUSAL_LOG_MS = 60_000;

/**
 * What we declare as MaxRecvDataSegmentLength: data is consumed as it arrives, so large is free.
 */
export const RECEIVE_SEGMENT_BYTES_MAX = 1024 * 1024;
/** What we offer; the results are minima, and the data needs no memory of ours (1.45× at 1 MiB). */
export const MAX_BURST_BYTES = 4 * 1024 * 1024;
export const FIRST_BURST_BYTES = 1024 * 1024;
export const OUTSTANDING_R2T_MAX = 8;

/** The largest data segment we send: a segment and its header fit one output chunk. */
export const SEND_SEGMENT_BYTES_MAX = 256 * 1024;
/** One output buffer: a full segment, 48 bytes of header, digests, and room for small answers. */
export const CHUNK_BYTES = SEND_SEGMENT_BYTES_MAX + 4096;
/** Blocks lent for one message: a socket takes no more at once, and a chunk need hold no more. */
export const LENT_BYTES_MAX = 1024 * 1024;
/** Unsent output of one connection; beyond it reads wait, and so does the receiver. */
export const OUTPUT_BYTES_MAX = 2 * 1024 * 1024;
/**
 * Unsent output at which a peer that still asks (Text: 24 bytes ask for 64 KiB) is dropped. Twice
 * the above: reads leave it at one, and one receive buffer of pings adds a quarter.
 */
export const SERVICE_OUTPUT_BYTES_MAX: number = 2 * OUTPUT_BYTES_MAX;
/**
 * Sizes of chunks. What the disk is asked for or given in small pieces is held in small chunks, so
 * that the bounds below, which are in bytes, are the memory that is really used.
 */
export const CHUNK_SIZES: readonly number[] = [1024, 8192 + 512, 65536 + 4096, CHUNK_BYTES];
/** Free chunks of one size kept by one worker: 64 of the largest. */
export const FREE_CHUNK_BYTES_MAX = 16 * 1024 * 1024;
/** The receive buffer shared by all connections of one worker. */
export const RECEIVE_BUFFER_BYTES = 512 * 1024;

/** CmdSN window of a session: open-iscsi uses 128 by default, Windows 255. */
export const COMMAND_WINDOW = 256;
/** Immediate commands in progress beside the window. */
export const IMMEDIATE_COMMANDS_MAX = 32;
/** Ping data we keep to echo: as much as one segment of ours can carry. */
export const PING_BYTES_MAX = SEND_SEGMENT_BYTES_MAX;
/**
 * Data of one connection that the device has not taken, and that R2Ts have asked for; beyond it no
 * more is asked for. Two of the largest bursts.
 */
export const COLD_WRITE_ASK_BYTES: number = 2 * MAX_BURST_BYTES;
/**
 * Chunks of one connection with data that the device has not taken; beyond it reading pauses, pings
 * too. Twice what open-iscsi has outstanding at most (128 commands of 256 KiB).
 */
export const COLD_WRITE_BYTES_MAX = 64 * 1024 * 1024;
/** The same of all connections of one worker; beyond it those with more than they may ask for. */
export const COLD_WRITES_BYTES_MAX = 256 * 1024 * 1024;
/** Parameter lists and compare data of one connection being collected: eight of the largest. */
export const GATHER_TOTAL_BYTES_MAX = 8 * 1024 * 1024;
/** Early data of one connection whose commands wait for older ones. */
export const HELD_BYTES_MAX = 4 * 1024 * 1024;
/** Chunks of one connection that cold reads are filling: 8 of the largest, 240 of 8 KiB. */
export const COLD_READ_BYTES_MAX: number = 8 * CHUNK_BYTES;
/** Reads of one command that the thread pool works on at a time. */
export const COLD_RUNS_PER_TASK_MAX = 4;

/**
 * A silent connection is pinged after this, and closed when no answer comes. Long, because a client
 * that works on something else does not read meanwhile: libiscsi's own tests sleep for a minute.
 */
export const PING_AFTER_MS = 15_000;
export const PING_TIMEOUT_MS = 60_000;
/** How long a logout that we asked for may take before the connection is cut (stop: < 2 s). */
export const LOGOUT_GRACE_MS = 1_000;
/** How long a connection that we closed may stay half closed, or with output that nobody takes. */
export const LINGER_MS = 5_000;
/** The beat at which deadlines are looked at. */
export const SWEEP_MS = 1_000;
