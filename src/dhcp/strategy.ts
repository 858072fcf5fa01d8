/**
 * The schools of proxyDHCP (boot facts 3). No single answer suits every firmware, so each machine
 * is remembered by what worked.
 *
 * | school | the offer on port 67 | then |
 * |---|---|---|
 * | `direct` | option 43 {6:8}, siaddr, sname, file | TFTP at once (every BIOS ROM) |
 * | `boot-server` | siaddr, no 43, no file | REQUEST to 4011, whose ACK names the file (dnsmasq) |
 * | `binl` | sname and file, no 43 | REQUEST to 4011 first, then the file (pixiecore) |
 */
export type UefiSchool = 'direct' | 'boot-server' | 'binl';

/** Order in which a UEFI machine is tried: the school that most firmware accepts comes first. */
const UEFI_ORDER: readonly UefiSchool[] = ['boot-server', 'binl', 'direct'];

/** A BIOS ROM takes `direct`; the others follow only for a ROM that never fetched anything. */
const BIOS_ORDER: readonly UefiSchool[] = ['direct', 'boot-server', 'binl'];

/**
 * Attempts without a fetch before the next school is tried. PXE firmware asks up to four times per
 * boot (4, 8, 16, 32 s) with one transaction id, which counts once; two boots that came to nothing
 * are a pattern, one is a person at the power button.
 */
const ATTEMPTS_PER_SCHOOL = 2;

/** PXE asks for 4 + 8 + 16 + 32 s. OVMF uses the same transaction id at every boot. */
const ONE_BOOT_MS = 65_000;

/** Machines remembered; the longest unseen is forgotten first. 4096 × ~150 B = 0.6 MB. */
const MEMORY_MACHINES = 4096;

type Memory = {
  school: UefiSchool;
  attempts: number;
  lastXid: number | undefined;
  countedAtMs: number;
  proven: boolean;
};

/** What is kept about one machine between runs of the program. */
export type SchoolRecord = { readonly mac: string; readonly school: UefiSchool };

/**
 * Per-machine memory of the proxy school that worked. The proxy asks `choose`; whoever serves
 * the loader tells `fetched`.
 */
export class SchoolMemory {
  readonly #machines = new Map<string, Memory>();
  readonly #capacity: number;

  constructor(known: readonly SchoolRecord[] = [], capacity = MEMORY_MACHINES) {
    this.#capacity = capacity;
    for (const { mac, school } of known) {
      this.#put(mac, { school, attempts: 0, lastXid: undefined, countedAtMs: 0, proven: true });
    }
  }

  /** The school this machine is in now, without counting an attempt. */
  current(mac: string, uefi: boolean): UefiSchool {
    return this.#machines.get(mac)?.school ?? order(uefi)[0]!;
  }

  /**
   * The school for the offer that is about to go out, and counts it. After enough offers without a
   * fetch the next school takes its turn. `xid` and the monotonic time tell retries of one boot
   * from the next boot.
   */
  choose(mac: string, uefi: boolean, xid: number, nowMs: number): UefiSchool {
    const m = this.#machines.get(mac) ?? {
      school: order(uefi)[0]!,
      attempts: 0,
      lastXid: undefined,
      countedAtMs: 0,
      proven: false,
    };
    if (m.lastXid !== xid || nowMs - m.countedAtMs > ONE_BOOT_MS) {
      m.attempts += 1;
      m.lastXid = xid;
      m.countedAtMs = nowMs;
    }
    if (m.attempts > ATTEMPTS_PER_SCHOOL) {
      const list = order(uefi);
      m.school = list[(list.indexOf(m.school) + 1) % list.length]!;
      m.attempts = 1;
      m.proven = false;
    }
    this.#put(mac, m);
    return m.school;
  }

  /** The machine fetched its loader: what it was offered works. */
  fetched(mac: string): void {
    const m = this.#machines.get(mac);
    if (m === undefined) return;
    m.attempts = 0;
    m.proven = true;
  }

  /** The owner chose by hand, or a stored record is put back. */
  set(mac: string, school: UefiSchool): void {
    this.#put(mac, { school, attempts: 0, lastXid: undefined, countedAtMs: 0, proven: true });
  }

  /** Machines whose school is proven, for storing. */
  proven(): SchoolRecord[] {
    return [...this.#machines]
      .filter(([, m]) => m.proven)
      .map(([mac, m]) => ({ mac, school: m.school }));
  }

  #put(mac: string, memory: Memory): void {
    this.#machines.delete(mac);
    this.#machines.set(mac, memory);
    if (this.#machines.size <= this.#capacity) return;
    for (const oldest of this.#machines.keys()) {
      this.#machines.delete(oldest);
      return;
    }
  }
}

function order(uefi: boolean): readonly UefiSchool[] {
  return uefi ? UEFI_ORDER : BIOS_ORDER;
}
