/** What the service does on one network. */
export type DhcpMode = 'server' | 'proxy' | 'off';

/** One subnet that we may answer for: the interface's own, or one behind a relay. */
export type DhcpSubnet = {
  /** `10.77.0.0/24`. */
  readonly network: string;
  /** Inclusive ranges of dotted quads that are given away. Empty: known machines only. */
  readonly pool: readonly { readonly first: string; readonly last: string }[];
  readonly leaseSeconds: number;
  readonly routers?: readonly string[];
  readonly dnsServers?: readonly string[];
  readonly ntpServers?: readonly string[];
  readonly domainName?: string;
  /** Interface MTU for the clients (option 26). */
  readonly mtuBytes?: number;
  /** True: we alone decide on this subnet, and say NAK to what is provably wrong. Default true. */
  readonly authoritative?: boolean;
};

/** One interface and its rôle. */
export type DhcpNetwork = {
  readonly interface: string;
  readonly mode: DhcpMode;
  /** Our own address on the interface: server identifier, siaddr, source of every packet. */
  readonly serverAddress: string;
  /** All addresses of the interface, default `serverAddress`: our own searches come from one. */
  readonly hostAddresses?: readonly string[];
  readonly subnets: readonly DhcpSubnet[];
  /** MTU of the interface, the upper limit of a reply. Default 1500. */
  readonly mtuBytes?: number;
  /**
   * Addresses per second that strangers may take, per interface and per relay (a starvation guard;
   * known machines are not counted). Default 200, with a burst of 1000: two full classrooms.
   */
  readonly strangersPerSecond?: number;
  /**
   * `mac` (default): firmware, iPXE and the system of one machine share an address although each
   * sends another client identifier. `client-id`: RFC 2131 §4.2 to the letter.
   */
  readonly identity?: 'mac' | 'client-id';
  /**
   * True: be a server although another one answers, or although the host's default route leaves
   * by this interface. Default false: `start` refuses.
   */
  readonly force?: boolean;
  /** Wait before each answer, also to strangers, unless a reservation says otherwise. Default 0. */
  readonly replyDelayMs?: number;
  /** Looks for addresses in use ahead of time (default true). */
  readonly probeConflicts?: boolean;
};
