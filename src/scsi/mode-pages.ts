import { u8 } from './bytes.ts';
import { ScsiError } from './sense.ts';

/** One page: its bytes from the header on, and which bits MODE SELECT may change. */
type Page = {
  readonly code: number;
  readonly defaults: readonly number[];
  /** Offset → mask, both within the page. */
  readonly changeable: Readonly<Record<number, number>>;
};

/** Page control field of MODE SENSE (SPC-4 §6.11.1). */
export const PageControl = { CURRENT: 0, CHANGEABLE: 1, DEFAULT: 2, SAVED: 3 } as const;

export const ALL_PAGES = 0x3f;
const CONTROL = 0x0a;
const CACHING = 0x08;

const D_SENSE = 0x04;
const SWP = 0x08;
const WCE = 0x04;

/** SBC-3 §6.5.8 Read-Write Error Recovery: everything is done for the initiator. */
const ERROR_RECOVERY: Page = {
  code: 0x01,
  defaults: [0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  changeable: {},
};

/** SBC-3 §6.5.6. WCE tells the truth: the page cache holds writes until they are flushed. */
const cachingPage = (wce: boolean): Page => ({
  code: CACHING,
  defaults: [0x08, 0x12, wce ? WCE : 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  changeable: { 2: WCE },
});

/** SPC-4 §7.5.8. Queue algorithm modifier 1: simple commands may be reordered freely. */
const CONTROL_PAGE: Page = {
  code: CONTROL,
  defaults: [0x0a, 0x0a, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0],
  changeable: { 2: D_SENSE, 4: SWP },
};

/** SPC-4 §7.5.12: DEXCPT, no exceptions are reported this way. */
const INFORMATIONAL_EXCEPTIONS: Page = {
  code: 0x1c,
  defaults: [0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  changeable: {},
};

/**
 * MMC-3 §6.3.11 C/DVD capabilities: reads CD-R, CD-RW, DVD-ROM; a tray that locks and ejects;
 * speeds as of a 40x drive, which nobody heeds.
 */
const CD_CAPABILITIES: Page = {
  code: 0x2a,
  defaults: [
    0x2a, 0x12, 0x0b, 0x00, 0x00, 0x00, 0x29, 0x00, 0x1b, 0x90, 0x00, 0x00, 0x02, 0x00, 0x1b, 0x90,
    0, 0, 0, 0,
  ],
  changeable: {},
};

/** The mode pages of one logical unit: current values, and what they may become. */
export class ModePages {
  readonly #pages: readonly Page[];
  readonly #current: readonly Uint8Array[];

  constructor(kind: 'disk' | 'cdrom', writeCache: boolean) {
    this.#pages =
      kind === 'cdrom'
        ? [ERROR_RECOVERY, CONTROL_PAGE, INFORMATIONAL_EXCEPTIONS, CD_CAPABILITIES]
        : [ERROR_RECOVERY, cachingPage(writeCache), CONTROL_PAGE, INFORMATIONAL_EXCEPTIONS];
    this.#current = this.#pages.map((p) => Uint8Array.from(p.defaults));
  }

  /** Writes are acknowledged before they are on stable media. */
  get writeCache(): boolean {
    return this.#bit(CACHING, 2, WCE);
  }

  /** Sense data in descriptor format. */
  get descriptorSense(): boolean {
    return this.#bit(CONTROL, 2, D_SENSE);
  }

  /** The initiator itself asked for write protection. */
  get softwareWriteProtect(): boolean {
    return this.#bit(CONTROL, 4, SWP);
  }

  /**
   * The bytes of one page or of all, in ascending order; null when there is no such page. We have
   * no subpages: FFh means "all of them" and shows page 00h of each.
   */
  render(code: number, subpage: number, control: number): Buffer | null {
    if (subpage !== 0 && subpage !== 0xff) return null;
    const chosen = this.#pages
      .map((page, i) => this.#render(page, i, control))
      .filter((bytes) => code === ALL_PAGES || u8(bytes, 0) === code);
    return chosen.length === 0 ? null : Buffer.concat(chosen);
  }

  /**
   * Applies the pages of a MODE SELECT parameter list that begin at `from`: all or nothing. Returns
   * true when something changed. Throws INVALID FIELD IN PARAMETER LIST with the field.
   */
  select(list: Uint8Array, from: number): boolean {
    const next = this.#current.map((bytes) => Uint8Array.from(bytes));
    for (let at = from; at < list.length;) {
      const index = this.#pages.findIndex((p) => p.code === (u8(list, at) & 0x3f));
      const page = this.#pages[index];
      const values = next[index];
      if (page === undefined || values === undefined) throw ScsiError.invalidParameter(at, 5);
      if ((u8(list, at) & 0x40) !== 0) throw ScsiError.invalidParameter(at, 6);
      if (u8(list, at + 1) !== values.length - 2) throw ScsiError.invalidParameter(at + 1);
      if (at + values.length > list.length) throw ScsiError.invalidParameter(at + 1);
      change(page, values, list, at);
      at += values.length;
    }
    const changed = next.some((bytes, i) => bytes.some((b, j) => b !== u8(this.#at(i), j)));
    next.forEach((bytes, i) => this.#current[i]?.set(bytes));
    return changed;
  }

  /** Back to the defaults: a reset forgets what MODE SELECT did not save (SPC-4 §7.5.1). */
  reset(): void {
    this.#pages.forEach((page, i) => this.#current[i]?.set(page.defaults));
  }

  #at(index: number): Uint8Array {
    return this.#current[index] ?? new Uint8Array();
  }

  #bit(code: number, at: number, mask: number): boolean {
    const index = this.#pages.findIndex((p) => p.code === code);
    return index >= 0 && (u8(this.#at(index), at) & mask) !== 0;
  }

  #render(page: Page, index: number, control: number): Uint8Array {
    if (control === PageControl.DEFAULT) return Uint8Array.from(page.defaults);
    if (control === PageControl.CURRENT) return this.#at(index);
    const masks = page.defaults.map((b, i) => (i < 2 ? b : (page.changeable[i] ?? 0)));
    return Uint8Array.from(masks);
  }
}

/** Takes over one page; a bit that cannot change must be sent as it is (SPC-4 §6.9). */
function change(page: Page, values: Uint8Array, list: Uint8Array, at: number): void {
  for (let i = 2; i < values.length; i++) {
    const sent = u8(list, at + i);
    const difference = sent ^ u8(values, i);
    const forbidden = difference & ~(page.changeable[i] ?? 0);
    if (forbidden !== 0) throw ScsiError.invalidParameter(at + i, 31 - Math.clz32(forbidden));
    values[i] = sent;
  }
}
