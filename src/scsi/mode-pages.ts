import { u8 } from './bytes.ts';
import { ScsiError } from './sense.ts';
import type { SavedPage } from './unit-state.ts';

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
/** Parameters saveable, in the first byte of a page. */
const PS = 0x80;

/** All pages as MODE SELECT would have them: not in force before `adopt`. */
export type ModeDraft = { readonly pages: readonly Uint8Array[]; readonly changed: boolean };

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

/**
 * SPC-4 §7.5.8. TST 001b: each I_T nexus has a task set of its own, so that no initiator can hold
 * up another's commands by task attributes; Linux, Windows and VMware order nothing across nexuses
 * by them, but by reservations and COMPARE AND WRITE. Queue algorithm modifier 1: simple commands
 * may be reordered freely.
 */
const CONTROL_PAGE: Page = {
  code: CONTROL,
  defaults: [0x0a, 0x0a, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0],
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
  /** What a reset goes back to: what was saved, or the defaults. */
  readonly #saved: readonly Uint8Array[];
  readonly #saves: boolean;

  /** `saved`: what an earlier unit saved; null where nothing can be saved (PS = 0). */
  constructor(
    kind: 'disk' | 'cdrom',
    writeCache: boolean,
    saved: readonly SavedPage[] | null = null,
  ) {
    this.#pages =
      kind === 'cdrom'
        ? [ERROR_RECOVERY, CONTROL_PAGE, INFORMATIONAL_EXCEPTIONS, CD_CAPABILITIES]
        : [ERROR_RECOVERY, cachingPage(writeCache), CONTROL_PAGE, INFORMATIONAL_EXCEPTIONS];
    this.#saves = saved !== null;
    this.#saved = this.#pages.map((p) => savedBytes(p, saved ?? []));
    this.#current = this.#saved.map((p) => Uint8Array.from(p));
  }

  /** MODE SELECT may say SP = 1. */
  get saves(): boolean {
    return this.#saves;
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
      .filter((bytes) => code === ALL_PAGES || (u8(bytes, 0) & 0x3f) === code);
    return chosen.length === 0 ? null : Buffer.concat(chosen);
  }

  /**
   * What the pages of a MODE SELECT parameter list that begin at `from` make of the current ones:
   * all or nothing. Throws INVALID FIELD IN PARAMETER LIST with the field.
   */
  draft(list: Uint8Array, from: number): ModeDraft {
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
    return { pages: next, changed };
  }

  /** Puts a draft in force; `saved`: it is what a reset goes back to. */
  adopt(draft: ModeDraft, saved: boolean): void {
    draft.pages.forEach((bytes, i) => {
      this.#current[i]?.set(bytes);
      if (saved) this.#saved[i]?.set(bytes);
    });
  }

  /** A draft as a store keeps it: the pages that can differ from their defaults. */
  toSave(draft: ModeDraft): SavedPage[] {
    return this.#pages.flatMap((page, i) => {
      const bytes = draft.pages[i];
      if (!savable(page) || bytes === undefined) return [];
      return [{ saved: toHex(bytes), defaults: toHex(Uint8Array.from(page.defaults)) }];
    });
  }

  /** Back to what was saved, or the defaults: a reset forgets the rest (SPC-4 §7.5.1). */
  reset(): void {
    this.#saved.forEach((bytes, i) => this.#current[i]?.set(bytes));
  }

  #at(index: number): Uint8Array {
    return this.#current[index] ?? new Uint8Array();
  }

  #bit(code: number, at: number, mask: number): boolean {
    const index = this.#pages.findIndex((p) => p.code === code);
    return index >= 0 && (u8(this.#at(index), at) & mask) !== 0;
  }

  #render(page: Page, index: number, control: number): Uint8Array {
    const bytes = Uint8Array.from(this.#values(page, index, control));
    if (this.#saves && savable(page)) bytes[0] = u8(bytes, 0) | PS;
    return bytes;
  }

  #values(page: Page, index: number, control: number): ArrayLike<number> {
    switch (control) {
      case PageControl.DEFAULT:
        return page.defaults;
      case PageControl.SAVED:
        return this.#saved[index] ?? page.defaults;
      case PageControl.CHANGEABLE:
        return page.defaults.map((b, i) => (i < 2 ? b : (page.changeable[i] ?? 0)));
      default:
        return this.#at(index);
    }
  }
}

/** Pages in which nothing can change need no saving. */
function savable(page: Page): boolean {
  return Object.keys(page.changeable).length > 0;
}

/**
 * What a page begins with. A saved one counts only while the defaults are those it was saved under:
 * when the owner has changed the unit's settings since, his word is the later one.
 */
function savedBytes(page: Page, saved: readonly SavedPage[]): Uint8Array {
  const defaults = Uint8Array.from(page.defaults);
  const kept = saved.find((s) => s.defaults === toHex(defaults));
  const bytes = kept === undefined ? defaults : Buffer.from(kept.saved, 'hex');
  return bytes.length === defaults.length ? Uint8Array.from(bytes) : defaults;
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
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
