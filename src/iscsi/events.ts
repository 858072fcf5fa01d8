import type { PortalAddress } from './policy.ts';

/** A session as reports show it: plain data. */
export type SessionInfo = {
  /** Unique in the life of this server. */
  readonly id: number;
  readonly kind: 'normal' | 'discovery';
  readonly initiatorName: string;
  /** The empty string for discovery. */
  readonly targetName: string;
  /** Twelve hexadecimal digits. */
  readonly isid: string;
  readonly tsih: number;
  readonly peer: PortalAddress;
  readonly portal: PortalAddress;
  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
  /** True when CHAP was done. */
  readonly authenticated: boolean;
  /** Looks like iPXE: it takes no pings and one command at a time. */
  readonly firmware: boolean;
  readonly sinceWallMs: number;
};

/** Why a session ended other than by its own logout. */
export type FenceReason = 'reinstatement' | 'takeover' | 'target-removed' | 'dropped' | 'reset';

/** What an observer is told. Plain data, in the order in which it happened. */
export type TargetEvent =
  | { readonly kind: 'login'; readonly session: SessionInfo }
  | {
      readonly kind: 'login-refused';
      readonly peer: PortalAddress;
      readonly initiatorName: string | null;
      readonly targetName: string | null;
      /** 0xCCDD, see LoginStatus; 0 when the connection just ended. */
      readonly status: number;
      readonly reason: string;
    }
  | { readonly kind: 'first-read'; readonly session: SessionInfo; readonly afterMs: number }
  | { readonly kind: 'first-write'; readonly session: SessionInfo; readonly afterMs: number }
  | { readonly kind: 'logout'; readonly session: SessionInfo }
  | { readonly kind: 'connection-lost'; readonly session: SessionInfo; readonly reason: string }
  | {
      readonly kind: 'session-fenced';
      readonly session: SessionInfo;
      readonly why: FenceReason;
    };

/** Told of everything that happens to sessions. Must not throw; called on the data-plane thread. */
export interface TargetObserver {
  event(event: TargetEvent): void;
}

/** An observer that does not care. */
export const silentObserver: TargetObserver = { event() {} };

/** What a server counts, beside the sessions' own traffic. */
export const SERVER_COUNTERS = [
  'connections',
  'connections-refused',
  'connections-evicted',
  'connections-handed-over',
  'logins',
  'logins-refused',
  'login-timeouts',
  'logouts',
  'connections-lost',
  'sessions-fenced',
  'pings-unanswered',
  'header-digest-errors',
  'data-digest-errors',
  'protocol-errors',
  'rejects',
  'commands-outside-window',
  'data-out-dropped',
  'tasks-aborted',
] as const;
export type ServerCounter = (typeof SERVER_COUNTERS)[number];

/** Traffic of one session or of a whole server; counts only grow. */
export type Traffic = {
  readCommands: number;
  readBytes: number;
  writeCommands: number;
  writtenBytes: number;
  otherCommands: number;
  /** Reads whose data was not resident and went through the thread pool. */
  coldReads: number;
};

/** One consistent look at a server. */
export type TargetStats = {
  readonly counters: Readonly<Record<ServerCounter, number>>;
  readonly traffic: Readonly<Traffic>;
  readonly sessions: readonly (SessionInfo & { readonly traffic: Readonly<Traffic> })[];
  readonly halfOpen: number;
};
