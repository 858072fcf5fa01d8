import { join } from 'node:path';
import type { TargetEvent } from '#iscsi/mod.ts';
import type { Lab } from '../lab/netns.ts';
import type { Running } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import type { LabTargetConfig } from './target-config.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const LAB_TARGET = join(import.meta.dirname, 'target-process.ts');

/** A target as an initiator names it. */
export type TargetName = {
  /** `address:port` */
  readonly portal: string;
  readonly iqn: string;
};

/** `polyboot export`, in a namespace. */
export class ExportedFile implements TargetName {
  readonly process: Running;
  readonly portal: string;
  readonly iqn: string;

  private constructor(process: Running, portal: string, iqn: string) {
    this.process = process;
    this.portal = portal;
    this.iqn = iqn;
  }

  /** Starts it on the lab's address and waits until it is ready. */
  static async start(
    lab: Lab,
    file: string,
    { port = 0, flags = [] }: { port?: number; flags?: readonly string[] } = {},
  ): Promise<ExportedFile> {
    const words = ['export', file, '--listen', lab.ip, '--port', String(port), ...flags];
    const started = lab.start(process.execPath, [MAIN, ...words]);
    const ready = /iscsi:\/\/([\d.]+:\d+)\/(\S+)\/0\n/;
    const [, portal = '', iqn = ''] = await started.waitFor(ready);
    return new ExportedFile(started, portal, iqn);
  }

  get port(): number {
    return Number(this.portal.split(':')[1]);
  }
}

/** `target-process.ts`, in a namespace. */
export class LabTarget {
  readonly process: Running;
  readonly #config: LabTargetConfig;

  private constructor(process: Running, config: LabTargetConfig) {
    this.process = process;
    this.#config = config;
  }

  static async start(lab: Lab, config: LabTargetConfig): Promise<LabTarget> {
    const started = lab.start(process.execPath, [LAB_TARGET, JSON.stringify(config)]);
    await started.waitFor(/^ready /m);
    return new LabTarget(started, config);
  }

  /** One of its targets, by one of its portals. */
  name(target = 0, portal = 0): TargetName {
    const at = this.#config.portals[portal];
    return { portal: `${at?.address}:${at?.port}`, iqn: this.#config.targets[target]?.iqn ?? '' };
  }

  /** All that happened so far, oldest first. */
  get events(): TargetEvent[] {
    const lines = this.process.output.split('\n').filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as TargetEvent);
  }

  /** Waits until an event of this kind was told for the `count`th time. */
  async waitEvent(
    kind: TargetEvent['kind'],
    count: number,
    limitMs = GUEST_LIMIT_MS,
  ): Promise<void> {
    const pattern = new RegExp(`(?:^\\{"kind":"${kind}"[^]*?){${count}}`, 'm');
    await this.process.waitFor(pattern, limitMs);
  }
}
