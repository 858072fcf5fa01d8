import { basename, dirname } from 'node:path';
import { normalizeMac } from '#base/mod.ts';
import type { BootRequest, BootSite, HttpAnswer } from '#http/mod.ts';
import type { ImageRepository } from '#images/mod.ts';
import { entryScript, machineScript, unknownScript } from '#ipxe/mod.ts';
import type { Machine, MachineService } from '#machines/mod.ts';
import { plainAddress, type AddressBook } from './address-book.ts';
import { reportFrom } from './report.ts';
import { machineScriptFor, type Reach } from './script-plan.ts';
import type { Timeline } from './timeline.ts';
import { baseUrl, PATHS } from './urls.ts';

/** Where a loader file is: the first folder that has it. */
export interface LoaderFiles {
  locate(file: string): { readonly root: string; readonly path: string } | undefined;
}

type Options = {
  readonly machines: MachineService;
  readonly images: ImageRepository;
  readonly timeline: Timeline;
  readonly addresses: AddressBook;
  readonly loaders: LoaderFiles;
  /** Folder of kernels and initrds. */
  readonly filesRoot: string;
  readonly iscsiPort: number;
  /**
   * The machine starts again: its drives are made ready before the script is answered. Resolves to
   * what could not be made ready, in words.
   */
  readonly prepareDrives: (machine: Machine, startsAgain: boolean) => Promise<readonly string[]>;
  /** Whether a system of the machine is logged in to a drive. */
  readonly isRunning: (machine: Machine) => Promise<boolean>;
};

const SCRIPT = /^\/boot\/([0-9a-fA-F-]{17})\.ipxe$/;

/** What the boot listener serves: scripts, loaders, files, ISOs, and the ear for reports. */
export class PolybootSite implements BootSite {
  readonly #options: Options;
  /** Boots (timeline ids) whose one-time override was taken already. */
  readonly #begun = new Map<string, string>();

  constructor(options: Options) {
    this.#options = options;
  }

  resolve(request: BootRequest): HttpAnswer | Promise<HttpAnswer> {
    const { path } = request;
    if (path === PATHS.report) return this.#report(request);
    const script = SCRIPT.exec(path);
    if (script !== null) return this.#script(request, script[1] ?? '');
    if (path === PATHS.entry || path === PATHS.autoexec) return this.#entry(request);
    if (path.startsWith('/loader/')) return this.#loader(path.slice('/loader/'.length));
    if (path.startsWith('/files/')) {
      return { kind: 'file', root: this.#options.filesRoot, path: path.slice('/files/'.length) };
    }
    if (path.startsWith('/images/')) return this.#iso(path.slice('/images/'.length));
    return { kind: 'not-found' };
  }

  async #script(request: BootRequest, name: string): Promise<HttpAnswer> {
    const mac = normalizeMac(name);
    if (mac === undefined) return { kind: 'not-found', why: 'no MAC address' };
    const { machines, timeline, addresses } = this.#options;
    addresses.learn(plainAddress(request.remoteAddress), mac);
    const base = baseUrl(plainAddress(request.localAddress), request.localPort);
    const uuid = request.query.get('uuid');
    const machine = machines.discover({ mac, ...(uuid === null ? {} : { uuid }) });
    if (machine === undefined || !machine.registered) {
      timeline.reach(mac, 'script', { plan: 'menu', machine: machine?.name ?? 'unknown' });
      return ipxeText(unknownScript({ baseUrl: base }));
    }
    if (machine.chap !== undefined && !this.#comesFrom(request, machine)) {
      // The script holds the secret: it goes to the card of that machine and to nobody else.
      return { kind: 'forbidden', why: 'this script belongs to another machine' };
    }
    return this.#machineScript(request, machine, mac, base);
  }

  async #machineScript(
    request: BootRequest,
    machine: Machine,
    mac: string,
    base: string,
  ): Promise<HttpAnswer> {
    const { machines, timeline } = this.#options;
    // A script fetched again (a retry, a menu) is the same boot; an override is taken once.
    const startsAgain = await this.#startsAgain(machine, mac);
    const boot = startsAgain ? machines.nextBootOf(machine) : machines.bootOf(machine);
    const facts = { plan: boot.plan.kind, drives: boot.drives.map((d) => d.image).join(', ') };
    timeline.reach(mac, 'script', facts);
    this.#begun.set(machine.id, timeline.bootOf(mac) ?? '');
    if (startsAgain) machines.beginBoot(machine.id);
    const problems = await this.#options.prepareDrives(boot.machine, startsAgain);
    if (problems.length > 0) {
      timeline.stop(mac, facts, {
        what: 'A disk of this machine cannot be served.',
        why: problems.join('; '),
        todo: 'Free the image (polyboot image show NAME says who holds it), then start the machine again.',
      });
    }
    const reach: Reach = {
      address: plainAddress(request.localAddress),
      iscsiPort: this.#options.iscsiPort,
      baseUrl: base,
    };
    const choice = request.query.get('plan') ?? undefined;
    return ipxeText(machineScript(machineScriptFor(boot, reach, choice)));
  }

  /**
   * A boot of which nothing was seen before its script may be none: this server was started again
   * while the machine ran, and somebody on it fetches the script. What runs keeps its disks.
   */
  async #startsAgain(machine: Machine, mac: string): Promise<boolean> {
    const current = this.#options.timeline.bootOf(mac);
    if (current !== undefined) return this.#begun.get(machine.id) !== current;
    return !(await this.#options.isRunning(machine));
  }

  #comesFrom(request: BootRequest, machine: Machine): boolean {
    const behind = this.#options.addresses.neighbourOf(request.remoteAddress);
    return behind !== undefined && machine.macs.includes(behind);
  }

  /** The same for every machine: it goes on to the machine's own script. */
  #entry(request: BootRequest): HttpAnswer {
    const base = baseUrl(plainAddress(request.localAddress), request.localPort);
    return ipxeText(entryScript({ baseUrl: base }));
  }

  #loader(file: string): HttpAnswer {
    const found = this.#options.loaders.locate(file);
    return found === undefined ? { kind: 'not-found' } : { kind: 'file', ...found };
  }

  /** ISOs only: a disk of a machine is nobody else's to read. */
  #iso(name: string): HttpAnswer {
    const image = this.#options.images.get(name);
    if (image?.kind !== 'iso') return { kind: 'not-found', why: 'no such ISO in the library' };
    return {
      kind: 'file',
      root: dirname(image.path),
      path: basename(image.path),
      contentType: 'application/octet-stream',
    };
  }

  #report(request: BootRequest): HttpAnswer {
    const mac = this.#options.addresses.macOf(request.remoteAddress);
    const report = reportFrom(request.query, mac);
    if (report === undefined) return { kind: 'not-found', why: 'whose report is this?' };
    const { timeline } = this.#options;
    if (report.kind === 'stage') timeline.reach(report.mac, report.stage, report.facts);
    else timeline.stop(report.mac, report.facts, report.problem);
    return { kind: 'text', status: 200, contentType: 'text/plain', body: 'ok\n' };
  }
}

function ipxeText(body: string): HttpAnswer {
  return { kind: 'text', status: 200, contentType: 'text/plain; charset=utf-8', body };
}
