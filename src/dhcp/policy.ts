/**
 * What the DHCP service asks of the product. `boot/` implements it; nothing here knows machines.
 */

/**
 * Who speaks, as far as the packet tells. Addresses are dotted quads, MACs lower-case with colons.
 */
export type DhcpClient = {
  readonly mac: string;
  /** Option 61 as lower-case hex, type byte included. */
  readonly clientId?: string;
  /** Option 97, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in wire byte order. */
  readonly uuid?: string;
  readonly hostName?: string;
  readonly interface: string;
  /** The relay's address (giaddr), when there is one. */
  readonly relay?: string;
};

/** What the owner laid down for one known machine. An empty object says "known, any address". */
export type Reservation = {
  /** Fixed IPv4 address. */
  readonly address?: string;
  /** Option 12 for the client. */
  readonly hostName?: string;
  /** Some ROMs miss an answer that comes too early (boot facts 7 rule 13). */
  readonly replyDelayMs?: number;
};

/**
 * Where the client stands: `firmware` a vendor PXE ROM, `ipxe` iPXE or gPXE (whatever loaded it),
 * `http-client` UEFI HTTP Boot, `none` an operating system or a BOOTP client.
 */
export type BootStage = 'firmware' | 'ipxe' | 'http-client' | 'none';

/** One question: what shall this client boot? */
export type BootRequest = {
  readonly mac: string;
  readonly uuid?: string;
  /** First value of option 93 that the IANA table knows, otherwise its first value. */
  readonly arch?: number;
  /** Option 60 as sent (not safe to print). */
  readonly vendorClass?: string;
  /** Option 77, either encoding (not safe to print). */
  readonly userClass: readonly string[];
  readonly stage: BootStage;
  readonly interface: string;
  /** Our address as this client reaches us. */
  readonly serverAddress: string;
  /** The address the client has or is being given; absent towards a proxy client without one. */
  readonly clientAddress?: string;
  /** True when another server gives the addresses. */
  readonly viaProxy: boolean;
  readonly relay?: string;
};

/** Settings that only iPXE reads: option 175 and the SAN options beside it. */
export type IpxeSettings = {
  /** 175.1, −128 … 127: the higher offer wins when several servers answer. */
  readonly priority?: number;
  /** 175.8: keep the SAN disk after a failed boot. */
  readonly keepSan?: boolean;
  /** 175.9: hook the SAN disk and do not boot it. */
  readonly skipSanBoot?: boolean;
  /** Option 17, `iscsi:<server>:<proto>:<port>:<lun>:<target>`. */
  readonly rootPath?: string;
  /** Option 203. */
  readonly initiatorIqn?: string;
  /** Any further sub-options of 175, by number. */
  readonly further?: ReadonlyMap<number, Uint8Array>;
};

/** The decision. `none` and `undefined` both mean: an address, and no boot information. */
export type BootAnswer =
  | { readonly kind: 'tftp'; readonly file: string; readonly ipxe?: IpxeSettings }
  | { readonly kind: 'url'; readonly url: string; readonly ipxe?: IpxeSettings }
  | { readonly kind: 'none' };

/** Asked for every packet, synchronously: implementations answer from memory. */
export interface DhcpPolicy {
  /** What is laid down for this client; undefined for a stranger. */
  reservationFor(client: DhcpClient): Reservation | undefined;
  /** True when some machine's fixed address is this one: the pool keeps away from it. */
  isReserved(address: string): boolean;
  bootAnswer(request: BootRequest): BootAnswer | undefined;
}
