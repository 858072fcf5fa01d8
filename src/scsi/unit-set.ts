import { invariant } from '#base/mod.ts';
import { beginAbsent, endAbsent } from './absent-unit.ts';
import type { Nexus, ScsiCommand, ScsiTarget } from './command.ts';
import { LUNS_MAX } from './lun.ts';
import { Sense } from './sense.ts';
import type { SenseCode } from './sense.ts';
import type { UnitHost } from './task.ts';
import type { LogicalUnit } from './unit.ts';

/**
 * Initiator ports we remember to tell "the nexus was lost" from "power on": some 100 bytes each.
 */
const SEEN_PORTS_MAX = 1024;

/** What a `LogicalUnitSet` is told at birth. */
export type UnitSetOptions = {
  /** The iSCSI target name, for VPD 83h. */
  readonly targetName?: string;
  /** Relative target port identifiers that initiators may come in by; 1 when left out. */
  readonly targetPorts?: readonly number[];
};

/** The logical units of one target, as one initiator may use them. */
export class LogicalUnitSet implements ScsiTarget, UnitHost {
  readonly targetName: string | null;
  readonly targetPorts: readonly number[];
  readonly #units: (LogicalUnit | undefined)[] = [];
  readonly #nexuses = new Set<Nexus>();
  readonly #seenPorts = new Set<string>();

  constructor(options: UnitSetOptions = {}) {
    this.targetName = options.targetName ?? null;
    this.targetPorts = options.targetPorts ?? [1];
  }

  get luns(): readonly number[] {
    return [...this.#units.keys()].filter((lun) => this.#units[lun] !== undefined);
  }

  unitAt(lun: number): LogicalUnit | undefined {
    return this.#units[lun];
  }

  /** Puts a unit at a free LUN below 256; initiators learn of it by unit attention. */
  add(lun: number, unit: LogicalUnit): void {
    invariant(lun >= 0 && lun < LUNS_MAX && this.#units[lun] === undefined, 'a free LUN');
    this.#inventoryChanged();
    this.#units[lun] = unit;
    for (const nexus of this.#nexuses) unit.nexusAdded(nexus, Sense.POWER_ON_OR_RESET);
  }

  /** Takes a unit away. The transport must have ended its commands. */
  remove(lun: number): void {
    const unit = this.#units[lun];
    if (unit === undefined) return;
    this.#units[lun] = undefined;
    for (const nexus of this.#nexuses) unit.nexusRemoved(nexus);
    this.#inventoryChanged();
  }

  begin(command: ScsiCommand): void {
    const unit = this.#units[command.lun];
    if (unit === undefined) beginAbsent(command, this.luns);
    else if (!unit.beginFast(command)) unit.begin(command, this);
  }

  finish(command: ScsiCommand, done: (command: ScsiCommand) => void): void {
    const unit = this.#units[command.lun];
    if (unit === undefined) {
      endAbsent(command);
      done(command);
    } else {
      unit.finish(command, done);
    }
  }

  abandon(command: ScsiCommand): void {
    this.#units[command.lun]?.abandon(command);
  }

  fail(command: ScsiCommand, error: unknown): void {
    const unit = this.#units[command.lun];
    if (unit === undefined) endAbsent(command);
    else unit.fail(command, error);
  }

  nexusAdded(nexus: Nexus): void {
    this.#nexuses.add(nexus);
    const attention = this.#arrival(nexus);
    for (const unit of this.#units) unit?.nexusAdded(nexus, attention);
  }

  nexusRemoved(nexus: Nexus): void {
    this.#nexuses.delete(nexus);
    for (const unit of this.#units) unit?.nexusRemoved(nexus);
  }

  logicalUnitReset(lun: number): boolean {
    const unit = this.#units[lun];
    unit?.reset();
    return unit !== undefined;
  }

  targetReset(): void {
    for (const unit of this.#units) unit?.reset();
  }

  hasLun(lun: number): boolean {
    return this.#units[lun] !== undefined;
  }

  #arrival(nexus: Nexus): SenseCode {
    const port = `${nexus.initiatorPort},${nexus.targetPort}`;
    if (this.#seenPorts.has(port)) return Sense.NEXUS_LOSS;
    const [oldest] = this.#seenPorts;
    if (this.#seenPorts.size >= SEEN_PORTS_MAX && oldest !== undefined) {
      this.#seenPorts.delete(oldest);
    }
    this.#seenPorts.add(port);
    return Sense.POWER_ON_OR_RESET;
  }

  #inventoryChanged(): void {
    for (const unit of this.#units) {
      for (const nexus of this.#nexuses) {
        unit?.attentions.establish(nexus, Sense.REPORTED_LUNS_CHANGED);
      }
    }
  }
}
