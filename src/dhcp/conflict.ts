import { readFileSync } from 'node:fs';
import { type Cancel, type Clock, formatIpv4, parseIpv4 } from '#base/mod.ts';
import { type UdpSocket } from '#net/mod.ts';
import type { LeaseTable } from './leases.ts';

/**
 * Finds addresses of the pool that somebody uses without having asked us, before they are given
 * away and never while a client waits (dnsmasq's and ISC's ping before each offer costs 1 to 3 s).
 * A datagram to the discard port makes the kernel ask ARP; its table then says who answered. What
 * the table says already proves nothing: an entry stays complete for a minute and longer after its
 * host has gone, and for offers we wrote it ourselves. So it is taken out first.
 */

const DISCARD_PORT = 9;
/** ARP gives up after three requests, a second apart; an answer takes milliseconds. */
const ANSWER_MS = 1000;
/** An address that was silent is asked again after this time, while it is still among the next. */
const RECHECK_MS = 300_000;
/** ATF_COM of the kernel's table: an answer came. */
const COMPLETE = 0x2;

/** Addresses that answered ARP on an interface, from the text of /proc/net/arp (proc(5)). */
export function parseArpTable(text: string, networkInterface: string): Set<number> {
  const found = new Set<number>();
  for (const line of text.split('\n').slice(1)) {
    // address, hardware type, flags, hardware address, mask, device
    const [address = '', , flags = '0', , , device] = line.trim().split(/\s+/);
    const number = parseIpv4(address);
    const complete = (Number.parseInt(flags, 16) & COMPLETE) !== 0;
    if (complete && device === networkInterface && number !== undefined) found.add(number);
  }
  return found;
}

/** What a prober works with; `arpTable` is the kernel's text. */
export type ConflictOptions = {
  readonly interface: string;
  readonly table: LeaseTable;
  readonly clock: Clock;
  readonly ask: (address: string) => void;
  /** Takes the entry of an address out of the table; false when it cannot. */
  readonly forget: (address: string) => boolean;
  readonly arpTable: () => string;
  readonly onConflict: (address: number) => void;
};

/** Probes the addresses that come next. `kick` after each answer; it never blocks. */
export class ConflictProber {
  readonly #options: ConflictOptions;
  readonly #checkedMs = new Map<number, number>();
  #asked: number[] = [];
  #cancel: Cancel | undefined;

  constructor(options: ConflictOptions) {
    this.#options = options;
  }

  /** Begins a round unless one is under way. */
  kick(): void {
    if (this.#cancel !== undefined) return;
    const { table, clock, ask, forget } = this.#options;
    const nowMs = clock.monotonicMs();
    const due = table.upcoming().filter((a) => this.#isDue(a, nowMs));
    if (due.length === 0) return;
    const present = this.#present();
    this.#asked = due.filter((a) => !present.has(a) || forget(formatIpv4(a)));
    for (const address of due) this.#checkedMs.set(address, nowMs);
    for (const address of this.#asked) ask(formatIpv4(address));
    this.#cancel = clock.after(ANSWER_MS, () => {
      this.#cancel = undefined;
      this.#collect();
      this.kick();
    });
  }

  /** We write the ARP entry of `address` ourselves, for an offer: it says nothing any more. */
  written(address: number): void {
    this.#asked = this.#asked.filter((a) => a !== address);
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #present(): Set<number> {
    return parseArpTable(this.#options.arpTable(), this.#options.interface);
  }

  #isDue(address: number, nowMs: number): boolean {
    const checkedMs = this.#checkedMs.get(address);
    return checkedMs === undefined || nowMs - checkedMs > RECHECK_MS;
  }

  #collect(): void {
    const { table, clock, onConflict } = this.#options;
    const present = this.#present();
    const nowMs = clock.monotonicMs();
    for (const address of this.#asked) {
      if (present.has(address) && table.conflict(address, nowMs)) onConflict(address);
    }
    for (const [address, checkedMs] of this.#checkedMs) {
      if (nowMs - checkedMs > RECHECK_MS) this.#checkedMs.delete(address);
    }
  }
}

/** The real asking: one empty datagram from a socket of the interface. */
export function askBy(socket: UdpSocket): (address: string) => void {
  return (address) => {
    socket.send(Buffer.alloc(1), DISCARD_PORT, address);
  };
}

/** The kernel's ARP table of this network namespace; empty when there is none. */
export function readArpTable(): string {
  try {
    return readFileSync('/proc/net/arp', 'latin1');
  } catch {
    return '';
  }
}
