import type { AtomicLog, BlockDevice } from '#block/mod.ts';
import type { Nexus } from './command.ts';
import type { UnitStateStore } from './unit-state.ts';

/** Who a logical unit says it is (INQUIRY, VPD 80h and 83h). */
export type UnitIdentity = {
  /** T10 vendor identification, up to 8 characters. */
  readonly vendor: string;
  /** Up to 16 characters. */
  readonly product: string;
  /** Up to 4 characters. */
  readonly revision: string;
  /** Unit serial number, printable ASCII, up to 36 characters; the same for ever. */
  readonly serial: string;
  /**
   * NAA designator as 16 or 32 hex digits; the first digit is the NAA format (3 = locally
   * assigned).
   */
  readonly naa: string;
};

/** What a logical unit is made of. */
export type UnitOptions = {
  readonly device: BlockDevice;
  readonly identity: UnitIdentity;
  /** `cdrom` shows MMC commands and is read-only; its device has blocks of 2048 bytes. */
  readonly kind?: 'disk' | 'cdrom';
  /** The medium can be ejected and loaded; always so for `cdrom`. */
  readonly removable?: boolean;
  /**
   * What READ CAPACITY(16) calls a physical block; the logical block when left out. What the
   * backend likes best is in VPD B0h in any case. 4096 makes guests align all they write ("512e").
   */
  readonly physicalBlockBytes?: number;
  /** `writethrough`: every write is on stable media before GOOD. */
  readonly cache?: 'writeback' | 'writethrough';
  /** Keeps APTPL and saved mode pages; without it both are refused. See `openUnitState`. */
  readonly state?: UnitStateStore;
  /** Offers WRITE ATOMIC; without it the unit does not have the command. */
  readonly atomicLog?: AtomicLog;
  /**
   * Ends the commands of a nexus on this unit, and says whether there were any: PREEMPT AND ABORT
   * needs the transport for it.
   */
  readonly abortTasks?: (nexus: Nexus) => boolean;
};
