import { addressTaken, imageHeld, macTaken, nameTaken } from './conflicts.ts';
import { canShare, holderOf, holdsOf, type Holder, type HoldMode } from './holds.ts';
import { MACHINES_MAX } from './limits.ts';
import type { Machine } from './schema.ts';

/**
 * All machines by every key that a boot asks for: a DHCP packet costs a map lookup, not a query
 * (30,000 exchanges a second leave 33 µs each). Also the one place that knows which two machines
 * cannot stand together.
 */
export class MachineIndex {
  readonly #byId = new Map<string, Machine>();
  readonly #byName = new Map<string, string>();
  readonly #byMac = new Map<string, string>();
  readonly #byAddress = new Map<string, string>();
  /** image → ids of its holders, and how each holds it. */
  readonly #byImage = new Map<string, Map<string, HoldMode>>();

  constructor(machines: readonly Machine[] = []) {
    for (const machine of machines) this.put(machine);
  }

  get size(): number {
    return this.#byId.size;
  }

  get full(): boolean {
    return this.#byId.size >= MACHINES_MAX;
  }

  get(id: string): Machine | undefined {
    return this.#byId.get(id);
  }

  byName(name: string): Machine | undefined {
    return this.#of(this.#byName.get(name));
  }

  byMac(mac: string): Machine | undefined {
    return this.#of(this.#byMac.get(mac));
  }

  byAddress(address: string): Machine | undefined {
    return this.#of(this.#byAddress.get(address));
  }

  /** All machines, ordered by name. */
  list(): Machine[] {
    return [...this.#byId.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Who holds `image`, ordered by machine name. */
  holdersOf(image: string): Holder[] {
    const ids = [...(this.#byImage.get(image)?.keys() ?? [])];
    return ids
      .flatMap((id) => this.#of(id) ?? [])
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((machine) => holderOf(machine, image) ?? []);
  }

  /** Throws UserError conflict when `machine` cannot stand beside the others. */
  check(machine: Machine): void {
    const others = (found: Machine | undefined): Machine | undefined =>
      found === undefined || found.id === machine.id ? undefined : found;
    if (others(this.byName(machine.name)) !== undefined) throw nameTaken(machine.name);
    for (const mac of machine.macs) {
      const holder = others(this.byMac(mac));
      if (holder !== undefined) throw macTaken(mac, holder.name);
    }
    if (machine.address !== undefined) {
      const holder = others(this.byAddress(machine.address));
      if (holder !== undefined) throw addressTaken(machine.address, holder.name);
    }
    for (const { image, mode } of holdsOf(machine)) {
      const rival = this.#rivalOf(machine.id, image, mode);
      const holder = rival === undefined ? undefined : holderOf(rival, image);
      if (holder !== undefined) throw imageHeld(image, holder, mode);
    }
  }

  /** Adds or replaces, unchecked. */
  put(machine: Machine): void {
    this.drop(machine.id);
    this.#byId.set(machine.id, machine);
    this.#byName.set(machine.name, machine.id);
    for (const mac of machine.macs) this.#byMac.set(mac, machine.id);
    if (machine.address !== undefined) this.#byAddress.set(machine.address, machine.id);
    for (const { image, mode } of holdsOf(machine)) {
      const ids = this.#byImage.get(image) ?? new Map<string, HoldMode>();
      this.#byImage.set(image, ids.set(machine.id, mode));
    }
  }

  /** Removes; nothing happens when the id is unknown. */
  drop(id: string): void {
    const machine = this.#byId.get(id);
    if (machine === undefined) return;
    this.#byId.delete(id);
    this.#byName.delete(machine.name);
    for (const mac of machine.macs) this.#byMac.delete(mac);
    if (machine.address !== undefined) this.#byAddress.delete(machine.address);
    for (const { image } of holdsOf(machine)) {
      const ids = this.#byImage.get(image);
      ids?.delete(id);
      if (ids?.size === 0) this.#byImage.delete(image);
    }
  }

  /** A machine other than `id` whose hold of `image` does not stand beside one of `mode`. */
  #rivalOf(id: string, image: string, mode: HoldMode): Machine | undefined {
    for (const [other, otherMode] of this.#byImage.get(image) ?? [])
      if (other !== id && !canShare(mode, otherMode)) return this.#of(other);
    return undefined;
  }

  #of(id: string | undefined): Machine | undefined {
    return id === undefined ? undefined : this.#byId.get(id);
  }
}
