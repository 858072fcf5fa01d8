import type { ScsiTarget } from '#scsi/mod.ts';

/** An address to listen on or one that a connection came in by; `address` is numeric. */
export type PortalAddress = { readonly address: string; readonly port: number };

/**
 * CHAP for one target (RFC 7143 §12.1.3). `user` and `secret` prove the initiator to us; the
 * mutual pair proves us to an initiator that asks for it. Secrets are 12 bytes or more by the RFC;
 * equal secrets in both directions are refused when an export is added.
 */
export type ChapCredentials = {
  readonly user: string;
  readonly secret: string;
  readonly mutualUser?: string;
  readonly mutualSecret?: string;
};

/** What a login asks for, as far as it is known when the policy is asked. */
export type LoginQuestion = {
  readonly initiatorName: string;
  readonly targetName: string;
  /** Where the connection came in. */
  readonly portal: PortalAddress;
  readonly peer: PortalAddress;
};

/** Login status class and detail (RFC 7143 §11.13.5) as one number, 0xCCDD. */
export const LoginStatus = {
  SUCCESS: 0x0000,
  MOVED_TEMPORARILY: 0x0101,
  MOVED_PERMANENTLY: 0x0102,
  INITIATOR_ERROR: 0x0200,
  AUTHENTICATION_FAILURE: 0x0201,
  AUTHORIZATION_FAILURE: 0x0202,
  NOT_FOUND: 0x0203,
  TARGET_REMOVED: 0x0204,
  UNSUPPORTED_VERSION: 0x0205,
  TOO_MANY_CONNECTIONS: 0x0206,
  MISSING_PARAMETER: 0x0207,
  CANNOT_INCLUDE_IN_SESSION: 0x0208,
  SESSION_TYPE_NOT_SUPPORTED: 0x0209,
  SESSION_DOES_NOT_EXIST: 0x020a,
  INVALID_DURING_LOGIN: 0x020b,
  TARGET_ERROR: 0x0300,
  SERVICE_UNAVAILABLE: 0x0301,
  OUT_OF_RESOURCES: 0x0302,
} as const;
export type LoginStatus = (typeof LoginStatus)[keyof typeof LoginStatus];

/** The answer to a login. `reason` is for people, in plain words, and never goes on the wire. */
export type Verdict =
  | { readonly kind: 'allow'; readonly chap: ChapCredentials | null }
  /** Another thread of this server has the target; the connection goes there as it is. */
  | { readonly kind: 'handover'; readonly home: number }
  | { readonly kind: 'deny'; readonly status: LoginStatus; readonly reason: string }
  | {
      readonly kind: 'redirect';
      /** IPv4 or `[IPv6]`; the port is always sent: iPXE garbles the default one. */
      readonly portal: PortalAddress;
      readonly permanent: boolean;
    };

/**
 * Who may see and use what. Synchronous: the application pushes its tables to where logins happen.
 */
export interface TargetPolicy {
  authorize(question: LoginQuestion): Verdict;
  /** Names of the targets that SendTargets may show to this initiator. */
  targetsFor(initiatorName: string): readonly string[];
  /** CHAP for discovery sessions; null lets anybody ask (and see what `targetsFor` allows). */
  discoveryChap(initiatorName: string): ChapCredentials | null;
}

/** One target as the application describes it: plain data, can be posted to a worker. */
export type ExportConfig = {
  readonly iqn: string;
  readonly alias?: string;
  /** Initiator names that may log in, or anybody. */
  readonly access: 'any' | readonly string[];
  readonly chap?: ChapCredentials;
  /**
   * True for a machine's own disk: a new login of the same initiator name fences its older sessions
   * (iPXE hands over to the operating system, which has another ISID). False: sessions coexist.
   */
  readonly takeover: boolean;
  /** Send every login elsewhere instead. */
  readonly redirect?: PortalAddress & { readonly permanent?: boolean };
};

/** A target of another thread of the same server: plain data. */
export type DistantExport = Pick<ExportConfig, 'iqn' | 'access'> & { readonly home: number };

/** A target and what stands behind it. */
export type Export = { readonly config: ExportConfig; readonly scsi: ScsiTarget };
