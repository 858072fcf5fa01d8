import type { Nexus } from './command.ts';
import {
  isAllRegistrants,
  isOpenToRegistrants,
  isReservationType,
  isWriteExclusive,
} from './reservation-type.ts';
import { ScsiError, Sense, Status } from './sense.ts';
import type { SenseCode } from './sense.ts';

/**
 * Reservations of one logical unit, without I/O: RESERVE/RELEASE (SPC-2 §5.5) and persistent
 * reservations (SPC-4 §5.13).
 *
 * A registrant is an I_T nexus, named by its initiator port and target port, so a registration
 * outlives the session. Keys are 16 hex digits; `NO_KEY` is the key that means none.
 *
 * | state              | who may write                | who may read                 |
 * |--------------------|------------------------------|------------------------------|
 * | none               | all                          | all                          |
 * | RESERVE(6)         | the reserving session        | the reserving session        |
 * | Write Exclusive    | holder                       | all                          |
 * | Exclusive Access   | holder                       | holder                       |
 * | … Registrants Only | holder, registrants          | WE: all; EA: registrants     |
 * | … All Registrants  | registrants (all are holder) | WE: all; EA: registrants     |
 */
export type Registration = {
  readonly initiatorPort: string;
  readonly targetPort: number;
  key: string;
};

/** How a command stands to reservations: one rule per row of the command table. */
export type ReservationRule =
  /** Never refused: INQUIRY, REPORT LUNS, REQUEST SENSE, RELEASE. */
  | 'always'
  /** Refused by RESERVE(6) only: TEST UNIT READY, READ CAPACITY … */
  | 'allowed'
  /** Refused where reading is. */
  | 'read'
  /** Refused where writing is. */
  | 'write'
  /** START STOP UNIT: starting is allowed, anything else is as writing. */
  | 'start'
  /** PREVENT ALLOW MEDIUM REMOVAL: preventing is as writing. */
  | 'prevent'
  /** Decides for itself. */
  | 'own';

/** What is kept for APTPL; plain data. */
export type PersistentState = {
  readonly registrations: readonly Readonly<Registration>[];
  readonly holder: { readonly initiatorPort: string; readonly targetPort: number } | null;
  readonly type: number;
};

/** What REGISTER may ask for beside its keys. */
export type RegisterOptions = {
  readonly ignoreKey: boolean;
  /** APTPL. */
  readonly keep: boolean;
  /** ALL_TG_PT: these target ports beside the one that the command came in by. */
  readonly targetPorts?: readonly number[];
  /** SPEC_I_PT: these initiator ports beside the one that asks, which must not be registered. */
  readonly initiatorPorts?: readonly string[];
};

/** A unit attention that a service action establishes for another registrant. */
export type ReservationEvent = { readonly to: Registration; readonly attention: SenseCode };

export const NO_KEY = '0000000000000000';

/** 64 machines with 4 paths each; a registration is some 200 bytes. */
export const REGISTRATIONS_MAX = 256;

/** The reservations of one unit; every service action returns whom to tell. */
export class Reservations {
  generation = 0;
  /** The session that holds RESERVE(6)/(10). */
  legacyHolder: Nexus | null = null;
  readonly #registrations: Registration[] = [];
  #holder: Registration | null = null;
  #type = 0;
  /** APTPL of the last registration. */
  keepThroughPowerLoss = false;

  /** True when nothing is reserved, so that no command needs a check. */
  get idle(): boolean {
    return this.legacyHolder === null && this.#type === 0;
  }

  get registrations(): readonly Readonly<Registration>[] {
    return this.#registrations;
  }

  /** The type in force, 0 for none. */
  get type(): number {
    return this.#type;
  }

  /** The key READ RESERVATION shows: zero where all registrants hold it. */
  get holderKey(): string {
    return this.#holder === null || isAllRegistrants(this.#type) ? NO_KEY : this.#holder.key;
  }

  /** Whether a registration holds the reservation. */
  holds(r: Readonly<Registration>): boolean {
    return this.#type !== 0 && (isAllRegistrants(this.#type) || this.#holder === r);
  }

  /** Whether a command of `nexus` under `rule` ends in RESERVATION CONFLICT. */
  conflicts(nexus: Nexus, rule: ReservationRule): boolean {
    if (rule === 'always') return false;
    if (this.legacyHolder !== null && this.legacyHolder !== nexus) return true;
    if (this.#type === 0 || rule === 'allowed' || rule === 'own') return false;
    if (rule === 'read' && isWriteExclusive(this.#type)) return false;
    const own = this.find(nexus);
    if (own === undefined) return true;
    return !isOpenToRegistrants(this.#type) && this.#holder !== own;
  }

  /** RESERVE(6)/(10). Throws RESERVATION CONFLICT; registrations exclude it (CRH = 0). */
  reserveLegacy(nexus: Nexus): void {
    if (this.#registrations.length > 0) throw conflict();
    if (this.legacyHolder !== null && this.legacyHolder !== nexus) throw conflict();
    this.legacyHolder = nexus;
  }

  /** RELEASE(6)/(10): of a stranger it is ignored (SPC-2 §5.5.1). */
  releaseLegacy(nexus: Nexus): void {
    if (this.#registrations.length > 0) throw conflict();
    if (this.legacyHolder === nexus) this.legacyHolder = null;
  }

  find(nexus: Nexus): Registration | undefined {
    return this.#at(nexus.initiatorPort, nexus.targetPort);
  }

  /** REGISTER; with `ignoreKey` REGISTER AND IGNORE EXISTING KEY (SPC-4 §5.13.7). */
  register(
    nexus: Nexus,
    key: string,
    newKey: string,
    options: RegisterOptions,
  ): ReservationEvent[] {
    const own = this.find(nexus);
    if (!options.ignoreKey && key !== (own?.key ?? NO_KEY)) throw conflict();
    const ports = new Set([nexus.targetPort, ...(options.targetPorts ?? [])]);
    const events: ReservationEvent[] = [];
    if (own === undefined) {
      if (newKey !== NO_KEY) this.#addAll(nexus, ports, newKey, options.initiatorPorts ?? []);
    } else {
      for (const targetPort of ports) {
        const at = { initiatorPort: nexus.initiatorPort, targetPort };
        const r = this.#at(at.initiatorPort, targetPort);
        if (newKey !== NO_KEY) (r ?? this.#add(at, newKey)).key = newKey;
        else if (r !== undefined) events.push(...this.#unregister(r));
      }
    }
    this.keepThroughPowerLoss = options.keep;
    this.generation += 1;
    return events;
  }

  /** The same again, to be changed without touching this one; RESERVE(6) is not copied. */
  copy(): Reservations {
    const copy = new Reservations();
    copy.generation = this.generation;
    copy.keepThroughPowerLoss = this.keepThroughPowerLoss;
    for (const r of this.#registrations) {
      const twin = { ...r };
      copy.#registrations.push(twin);
      if (this.#holder === r) copy.#holder = twin;
    }
    copy.#type = this.#type;
    return copy;
  }

  /** RESERVE (SPC-4 §5.13.9). */
  reserve(nexus: Nexus, key: string, type: number): void {
    const own = this.#entitled(nexus, key);
    if (!isReservationType(type)) throw ScsiError.invalidField(2, 3);
    if (this.#type === 0) {
      this.#holder = own;
      this.#type = type;
    } else if (this.#type !== type || !this.holds(own)) {
      throw conflict();
    }
  }

  /** RELEASE (SPC-4 §5.13.11.2). */
  release(nexus: Nexus, key: string, type: number): ReservationEvent[] {
    const own = this.#entitled(nexus, key);
    if (this.#type === 0 || !this.holds(own)) return [];
    if (type !== this.#type) throw ScsiError.check(Sense.INVALID_RELEASE_OF_PR);
    return this.#release(own);
  }

  /** CLEAR (SPC-4 §5.13.11.6). */
  clear(nexus: Nexus, key: string): ReservationEvent[] {
    const own = this.#entitled(nexus, key);
    const others = this.#registrations.filter((r) => r !== own);
    this.#registrations.length = 0;
    this.#free();
    this.generation += 1;
    return others.map((to) => ({ to, attention: Sense.RESERVATIONS_PREEMPTED }));
  }

  /**
   * PREEMPT and PREEMPT AND ABORT (SPC-4 §5.13.11.4, table 59). Returns the attentions; those of
   * REGISTRATIONS PREEMPTED name the losers, whose tasks PREEMPT AND ABORT then aborts.
   */
  preempt(nexus: Nexus, key: string, victimKey: string, type: number): ReservationEvent[] {
    const own = this.#entitled(nexus, key);
    const takesOver = this.#takesOver(victimKey);
    if (takesOver && !isReservationType(type)) throw ScsiError.invalidField(2, 3);
    if (!takesOver && victimKey === NO_KEY) throw ScsiError.invalidParameter(8);
    const everyone = victimKey === NO_KEY;
    const known = this.#registrations.some((r) => r.key === victimKey);
    if (!everyone && !known) throw conflict();
    const losers = this.#registrations.filter(
      (r) => r !== own && (everyone || r.key === victimKey),
    );
    const events: ReservationEvent[] = losers.map((to) => ({
      to,
      attention: Sense.REGISTRATIONS_PREEMPTED,
    }));
    for (const loser of losers) this.#registrations.splice(this.#registrations.indexOf(loser), 1);
    if (takesOver) {
      if (this.#type !== type) events.push(...this.#tellOthers(own));
      this.#holder = own;
      this.#type = type;
    }
    this.generation += 1;
    return events;
  }

  /**
   * REGISTER AND MOVE (SPC-4 §5.13.8): the holder hands its reservation to another I_T nexus, which
   * need not be logged in.
   */
  registerAndMove(
    nexus: Nexus,
    key: string,
    newKey: string,
    to: Pick<Registration, 'initiatorPort' | 'targetPort'>,
    options: { readonly unregister: boolean; readonly keep: boolean },
  ): ReservationEvent[] {
    const own = this.#entitled(nexus, key);
    if (this.#holder !== own || isAllRegistrants(this.#type)) throw conflict();
    if (newKey === NO_KEY) throw ScsiError.invalidParameter(8);
    const same = to.initiatorPort === own.initiatorPort && to.targetPort === own.targetPort;
    if (same) throw ScsiError.invalidParameter(24);
    const known = this.#at(to.initiatorPort, to.targetPort);
    const heir = known ?? this.#add(to, newKey);
    heir.key = newKey;
    this.#holder = heir;
    if (options.unregister) this.#registrations.splice(this.#registrations.indexOf(own), 1);
    this.keepThroughPowerLoss = options.keep;
    this.generation += 1;
    return [];
  }

  /** What APTPL keeps, or null when nothing is to be kept. */
  snapshot(): PersistentState | null {
    if (!this.keepThroughPowerLoss || this.#registrations.length === 0) return null;
    const h = this.#holder;
    return {
      registrations: this.#registrations.map((r) => ({ ...r })),
      holder: h === null ? null : { initiatorPort: h.initiatorPort, targetPort: h.targetPort },
      type: this.#type,
    };
  }

  /** Takes over what was kept, at power on. */
  restore(state: PersistentState): void {
    this.#registrations.push(...state.registrations.map((r) => ({ ...r })));
    const h = state.holder;
    this.#holder = h === null ? null : (this.#at(h.initiatorPort, h.targetPort) ?? null);
    this.#type = this.#holder === null ? 0 : state.type;
    this.keepThroughPowerLoss = true;
  }

  /**
   * A victim key that means "the reservation itself": its holder's, or zero for All Registrants.
   */
  #takesOver(victimKey: string): boolean {
    if (this.#type === 0) return false;
    return victimKey === this.holderKey;
  }

  #entitled(nexus: Nexus, key: string): Registration {
    const own = this.find(nexus);
    if (own === undefined || own.key !== key) throw conflict();
    return own;
  }

  #at(initiatorPort: string, targetPort: number): Registration | undefined {
    return this.#registrations.find(
      (r) => r.initiatorPort === initiatorPort && r.targetPort === targetPort,
    );
  }

  /** Registers the nexus itself and those of SPEC_I_PT, which must not be known (SPC-4 §5.13.7). */
  #addAll(
    nexus: Nexus,
    targetPorts: ReadonlySet<number>,
    key: string,
    initiatorPorts: readonly string[],
  ): void {
    const others = new Set(initiatorPorts);
    others.delete(nexus.initiatorPort);
    for (const targetPort of targetPorts) {
      const own = { initiatorPort: nexus.initiatorPort, targetPort };
      (this.#at(own.initiatorPort, targetPort) ?? this.#add(own, key)).key = key;
      for (const initiatorPort of others) {
        if (this.#at(initiatorPort, targetPort) !== undefined) throw conflict();
        this.#add({ initiatorPort, targetPort }, key);
      }
    }
  }

  #add(to: Pick<Registration, 'initiatorPort' | 'targetPort'>, key: string): Registration {
    if (this.#registrations.length >= REGISTRATIONS_MAX) {
      throw ScsiError.check(Sense.INSUFFICIENT_REGISTRATION_RESOURCES);
    }
    const added = { initiatorPort: to.initiatorPort, targetPort: to.targetPort, key };
    this.#registrations.push(added);
    return added;
  }

  #unregister(own: Registration): ReservationEvent[] {
    this.#registrations.splice(this.#registrations.indexOf(own), 1);
    if (this.#type === 0) return [];
    if (isAllRegistrants(this.#type)) {
      const next = this.#registrations[0];
      if (next === undefined) this.#free();
      else if (this.#holder === own) this.#holder = next;
      return [];
    }
    return this.#holder === own ? this.#release(own) : [];
  }

  #release(own: Registration): ReservationEvent[] {
    const events = isOpenToRegistrants(this.#type) ? this.#tellOthers(own) : [];
    this.#free();
    return events;
  }

  #tellOthers(own: Registration): ReservationEvent[] {
    return this.#registrations
      .filter((r) => r !== own)
      .map((to) => ({ to, attention: Sense.RESERVATIONS_RELEASED }));
  }

  #free(): void {
    this.#holder = null;
    this.#type = 0;
  }
}

function conflict(): ScsiError {
  return ScsiError.status(Status.RESERVATION_CONFLICT);
}
