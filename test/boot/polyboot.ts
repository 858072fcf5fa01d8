import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Lab } from '../lab/netns.ts';
import { run, type Running } from '../lab/process.ts';
import type { BootServer, DhcpRole, ServedMachine } from './server.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');

/** Our own server: `polyboot up` with a configuration of its own, driven by the command line. */
export class PolybootServer implements BootServer {
  readonly #lab: Lab;
  readonly #folder: string;
  readonly #outputs: Running[] = [];
  #process: Running;

  private constructor(lab: Lab, folder: string, process: Running) {
    this.#lab = lab;
    this.#folder = folder;
    this.#process = process;
    this.#outputs.push(process);
  }

  static async start(lab: Lab, folder: string, role: DhcpRole): Promise<PolybootServer> {
    const network = lab.ip.replace(/\d+$/, '');
    const pool = role === 'server' ? `\n    pool: ${network}100-${network}200` : '';
    await mkdir(join(folder, 'files'), { recursive: true });
    await writeFile(
      join(folder, 'polyboot.yaml'),
      `state: ${folder}/state
files: ${folder}/files
admin: { socket: ${folder}/admin.sock }
log: info
networks:
  - interface: ${lab.bridge}
    dhcp: ${role}${pool}
`,
    );
    return new PolybootServer(lab, folder, await up(lab, folder));
  }

  async addMachine(machine: ServedMachine): Promise<void> {
    const args = ['machine', 'add', machine.name, '--mac', machine.mac];
    for (const file of machine.drives ?? []) args.push('--drive', await this.#addImage(file));
    const plan = machine.plan ?? { kind: 'san' };
    args.push('--plan', plan.kind);
    if (plan.kind === 'iso') args.push('--iso', await this.#addImage(plan.file));
    if (plan.kind === 'floppy') args.push('--floppy', await this.#publish(plan.file));
    if (plan.kind === 'kernel') {
      args.push('--kernel', await this.#publish(plan.kernel), '--cmdline', plan.cmdline);
      for (const file of plan.initrd) args.push('--initrd', await this.#publish(file));
    }
    if (plan.kind === 'script') {
      const script = join(this.#folder, `${machine.name}.ipxe`);
      await writeFile(script, plan.text);
      args.push('--script-file', script);
    }
    if (machine.chap !== undefined) {
      const secretFile = join(this.#folder, `${machine.name}.secret`);
      await writeFile(secretFile, `${machine.chap.secret}\n`, { mode: 0o600 });
      args.push('--chap-user', machine.chap.user, '--chap-secret-file', secretFile);
    }
    await this.cli(...args);
  }

  /** Of the process that was started last, or of what it runs in. */
  get pid(): number {
    return this.#process.pid;
  }

  targetUrl(machine: string, drive: number): string {
    return `iscsi:${this.#lab.ip}::3260:0:iqn.2026-11.org.polyboot:${machine}.${drive}`;
  }

  async waitStage(mac: string, stage: string): Promise<void> {
    const watch = this.#lab.start(process.execPath, [MAIN, 'watch', '--json', '--after', '0'], {
      env: this.#environment(),
    });
    try {
      // One event per line; the order of its fields says nothing.
      const event = `^(?=.*"mac":"${mac}")(?=.*"stage":"${stage}").*$`;
      await watch.waitFor(new RegExp(event, 'm'));
    } finally {
      await watch.stop();
    }
  }

  async predictGeometry(image: string): Promise<readonly number[] | undefined> {
    const report = (await this.cli('image', 'inspect', imageName(image))) as {
      geometry?: { cylinders: number; heads: number; sectorsPerTrack: number };
    };
    const g = report.geometry;
    return g === undefined ? undefined : [g.cylinders, g.heads, g.sectorsPerTrack];
  }

  async crash(): Promise<void> {
    await this.#process.stop('SIGKILL');
    this.#process = await up(this.#lab, this.#folder);
    this.#outputs.push(this.#process);
  }

  output(): string {
    return this.#outputs.map((p) => p.output).join('\n── started again\n');
  }

  async stop(): Promise<void> {
    await this.#process.stop();
  }

  /** Runs one command against this server; returns what it printed as JSON. */
  async cli(...args: string[]): Promise<unknown> {
    const text = await run(process.execPath, [MAIN, ...args, '--json'], {
      env: this.#environment(),
    });
    return text.trim() === '' ? undefined : JSON.parse(text);
  }

  async #addImage(file: string): Promise<string> {
    const name = imageName(file);
    await this.cli('image', 'add', file, '--name', name);
    return name;
  }

  async #publish(file: string): Promise<string> {
    await copyFile(file, join(this.#folder, 'files', basename(file)));
    return basename(file);
  }

  #environment(): NodeJS.ProcessEnv {
    return { ...process.env, POLYBOOT_SOCKET: `${this.#folder}/admin.sock` };
  }
}

async function up(lab: Lab, folder: string): Promise<Running> {
  const config = join(folder, 'polyboot.yaml');
  const started = lab.start(process.execPath, [MAIN, 'up', '--config', config]);
  await started.waitFor(/^ready/m);
  return started;
}

function imageName(file: string): string {
  return basename(file).replace(/\.[a-z]+$/, '');
}
