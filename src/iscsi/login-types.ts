import type { Negotiated, NegotiationOffer } from './keys.ts';
import type { LoginRequest, LoginResponse } from './pdu/mod.ts';
import type { PortalAddress, TargetPolicy } from './policy.ts';

/** What decides and limits a login; the same for all connections of a portal but for `peer`. */
export type LoginEnvironment = {
  readonly policy: TargetPolicy;
  readonly portal: PortalAddress;
  readonly peer: PortalAddress;
  readonly portalGroupTag: number;
  readonly offer: NegotiationOffer;
  readonly random: (bytes: number) => Uint8Array;
  /** True when a session with this TSIH exists: joining it would make MC/S, which we refuse. */
  readonly sessionExists: (tsih: number) => boolean;
};

/** What a granted login established. */
export type LoginGrant = {
  readonly kind: 'normal' | 'discovery';
  readonly initiatorName: string;
  readonly targetName: string;
  readonly isid: string;
  readonly cid: number;
  readonly negotiated: Readonly<Negotiated>;
  readonly authenticated: boolean;
  readonly firmware: boolean;
  /** CmdSN of the first command, and StatSN after the last login response. */
  readonly cmdSn: number;
  readonly statSn: number;
};

/** What a login request leads to. */
export type LoginOutcome =
  | { readonly kind: 'reply'; readonly response: LoginResponse }
  | { readonly kind: 'refuse'; readonly response: LoginResponse; readonly reason: string }
  /** Another thread has the target: it takes the connection, with all that was asked so far. */
  | { readonly kind: 'handover'; readonly home: number; readonly request: LoginRequest }
  | { readonly kind: 'admit'; readonly response: LoginResponse; readonly grant: LoginGrant };
