import type { Nexus } from './command.ts';
import { ScsiError, Sense } from './sense.ts';

/**
 * Whether the medium can be used. A unit is, from the strongest:
 *
 * failed → sanitizing → ejected → ready
 *
 * `failed` is for good: a flush was lost (durability contract, point 4).
 */
export class Medium {
  failed = false;
  /** Done part of a running SANITIZE, 0 to 1; null when none runs. */
  sanitizeProgress: number | null = null;
  /** A SANITIZE failed: only another SANITIZE is taken (SBC-3 §5.27). */
  sanitizeFailed = false;
  /** It had AUSE set: EXIT FAILURE MODE makes the medium usable as it is. */
  sanitizeMayExit = false;
  loaded = true;
  readonly #preventers = new Set<Nexus>();
  readonly #trayOpen: boolean;

  /** `hasTray`: an ejected medium says "tray open" (MMC) and not just "not present". */
  constructor(hasTray: boolean) {
    this.#trayOpen = hasTray;
  }

  /** What stands against using the medium, or null. */
  get obstacle(): ScsiError | null {
    if (this.failed) return ScsiError.check(Sense.INTERNAL_TARGET_FAILURE);
    if (this.sanitizeProgress !== null) {
      return ScsiError.check(Sense.SANITIZE_IN_PROGRESS, { progress: this.sanitizeProgress });
    }
    if (this.sanitizeFailed) return ScsiError.check(Sense.SANITIZE_COMMAND_FAILED);
    if (!this.loaded) {
      const open = this.#trayOpen;
      return ScsiError.check(open ? Sense.MEDIUM_NOT_PRESENT_TRAY_OPEN : Sense.MEDIUM_NOT_PRESENT);
    }
    return null;
  }

  /** True when nothing stands against using the medium. */
  get ready(): boolean {
    return this.obstacle === null;
  }

  /** PREVENT ALLOW MEDIUM REMOVAL: each nexus for itself (SPC-4 §6.13). */
  prevent(nexus: Nexus): void {
    this.#preventers.add(nexus);
  }

  allow(nexus: Nexus): void {
    this.#preventers.delete(nexus);
  }

  allowAll(): void {
    this.#preventers.clear();
  }

  get prevented(): boolean {
    return this.#preventers.size > 0;
  }
}
