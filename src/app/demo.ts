import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createLog, EnvironmentError, printable, silentLog, systemClock } from '#base/mod.ts';
import type { TimelineEvent } from '#boot/mod.ts';
import { ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { VirtualMachine, type MachineSpec } from '#vm/mod.ts';
import { parseConfig } from './config.ts';
import { paint, stageLine, type Terminal } from './output.ts';
import { pathsOf } from './paths.ts';
import { addTap, checkPrivateNetwork, DEMO_BRIDGE } from './private-network.ts';
import { inPrivateNamespace, isAlone, makeBridge } from './private-network.ts';
import { BootServer } from './server.ts';

export type DemoFirmware = 'bios' | 'uefi';

type Options = {
  readonly firmware: DemoFirmware;
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cacheFolder: string;
  /** How to start this very program again: node and its script. */
  readonly self: readonly string[];
  /** Aborts at Ctrl-C. */
  readonly signal: AbortSignal;
};

/** Set for the process inside the private network: the image to boot. */
const INSIDE = 'POLYBOOT_DEMO_IMAGE';
const MACHINE = { name: 'demo', mac: '52:54:00:77:00:01', tap: 'tap0' } as const;
/** A two-core host under load takes 90 s from power-on to login. */
const BOOT_LIMIT_MS = 240_000;
/** After the system reports itself its login prompt follows within seconds. */
const LOGIN_LIMIT_MS = 30_000;
/** The process inside hears Ctrl-C too, and ends its machine in a second. */
const END_LIMIT_MS = 10_000;

/**
 * `polyboot demo`: a virtual machine boots Debian over a private network from this program, by
 * firmware that is not iPXE. Resolves to the exit code: 0 only when the guest reported that its
 * root is our disk. Ctrl-C, SIGTERM and a closed terminal end it, and nothing of it stays.
 */
export async function demo(options: Options): Promise<number> {
  const image = options.env[INSIDE];
  if (image !== undefined) return await demoInside(image, options);
  await checkPrivateNetwork(process.getuid?.() === 0);
  const signal = wantsOut(options.signal);
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-demo-'));
  try {
    return await runInside(await buildImage(folder, options, signal), options, signal);
  } catch (e) {
    if (signal.aborted) return 1;
    throw e;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function wantsOut(interrupted: AbortSignal): AbortSignal {
  const told = new AbortController();
  for (const name of ['SIGTERM', 'SIGHUP'] as const) {
    process.once(name, () => {
      told.abort();
    });
  }
  return AbortSignal.any([interrupted, told.signal]);
}

/**
 * Builds the disk of this run, outside the private network because packages come from the mirror.
 * They are kept: from the second run on this takes seconds and needs no network.
 */
async function buildImage(folder: string, options: Options, signal: AbortSignal): Promise<string> {
  const { terminal } = options;
  terminal.out('Building a small Debian image (the first time takes about a minute)\n');
  const library = ImageLibrary.open({
    folder: join(folder, 'image'),
    cacheFolder: options.cacheFolder,
    repository: new MemoryImageRepository(),
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  const progress = ({ line }: { readonly line?: string }): void => {
    if (line !== undefined) terminal.out(`  ${paint(terminal, 'dim', printable(line, 100))}\n`);
  };
  const request = { recipe: 'debian', hostName: 'demo' } as const;
  return (await library.build('debian', request, { progress, signal })).path;
}

function runInside(image: string, options: Options, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted();
  const isRoot = process.getuid?.() === 0;
  const argv = [...options.self, 'demo', '--firmware', options.firmware];
  const [command = '', ...args] = inPrivateNamespace(argv, isRoot);
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: { ...options.env, [INSIDE]: image },
  });
  signal.addEventListener('abort', () => {
    // unshare itself is deaf to SIGINT and SIGTERM, and passes nothing on.
    systemClock.after(END_LIMIT_MS, () => child.kill('SIGKILL'));
  });
  return new Promise((resolve, reject) => {
    child.on('error', (e) => {
      reject(
        new EnvironmentError(
          'unshare',
          { what: 'cannot start unshare', why: e.message, todo: 'install util-linux' },
          { cause: e },
        ),
      );
    });
    child.on('exit', (code) => {
      resolve(code ?? 1);
    });
  });
}

async function demoInside(image: string, options: Options): Promise<number> {
  if (!isAlone()) {
    throw new EnvironmentError('not-private', {
      what: 'refusing to run the demonstration outside a private network',
      why: `${INSIDE} is set, but this network namespace has other interfaces`,
      todo: 'start it as `./polyboot demo`, which makes the private network',
    });
  }
  await makeBridge();
  await addTap(MACHINE.tap);
  // Beside the image, in the folder of this run: the process outside removes it.
  return await boot(image, dirname(dirname(image)), options);
}

async function boot(image: string, folder: string, options: Options): Promise<number> {
  const { terminal } = options;
  const server = await startServer(folder, options.env);
  try {
    await prepare(server, image, terminal);
    const machine = await VirtualMachine.start(await machineSpec(folder, options.firmware), {
      runParent: folder,
    });
    try {
      return await watchBoot(server, machine, options);
    } finally {
      await machine.stop();
    }
  } finally {
    await server.stop();
  }
}

/** The same server as `polyboot up`, on the private bridge. */
async function startServer(folder: string, env: Options['env']): Promise<BootServer> {
  const config = parseConfig(
    `networks: [{ interface: ${DEMO_BRIDGE}, dhcp: server, pool: 10.77.0.100-200 }]
state: ${JSON.stringify(join(folder, 'state'))}
admin: { socket: ${JSON.stringify(join(folder, 'admin.sock'))} }
log: ${env['POLYBOOT_LOG'] ?? 'silent'}
`,
    'the demonstration',
  );
  return await BootServer.start({
    config,
    paths: pathsOf(config, env, true),
    clock: systemClock,
    log: createLog(config.log),
    onFatal: (error) => {
      throw error;
    },
  });
}

/** What a person would type: an image used in place, and a machine that owns it. */
async function prepare(server: BootServer, image: string, terminal: Terminal): Promise<void> {
  await server.parts.images.add(image, { name: 'debian' });
  server.parts.machines.add({
    name: MACHINE.name,
    macs: [MACHINE.mac],
    drives: [{ image: 'debian', mode: 'exclusive' }],
  });
  terminal.out(
    `Serving DHCP, TFTP, HTTP and iSCSI at ${server.networks[0]?.address ?? ''} on a private network.\n` +
      `Machine "${MACHINE.name}" (${MACHINE.mac}) owns the disk "debian". Power on.\n\n`,
  );
}

async function machineSpec(folder: string, firmware: DemoFirmware): Promise<MachineSpec> {
  const nic = {
    backend: { kind: 'tap', name: MACHINE.tap },
    mac: MACHINE.mac,
    bootIndex: 1,
    // Without QEMU's ROM, which is iPXE already, the firmware must boot by itself, as a PC's does.
    romFile: '',
  } as const;
  const common = { name: MACHINE.name, memoryMib: 256, accel: 'tcg', nics: [nic] } as const;
  if (firmware === 'uefi') return { ...common, firmware: 'ovmf' };
  return { ...common, firmware: 'bios', kernel: await vendorRom(folder) };
}

/**
 * SeaBIOS has no PXE of its own. iPXE under another user class asks and fetches as a vendor's PXE
 * ROM does: a loader by TFTP, named by the DHCP answer.
 */
async function vendorRom(folder: string): Promise<{ path: string; initrd: string }> {
  const initrd = join(folder, 'vendor.ipxe');
  await mkdir(folder, { recursive: true });
  await writeFile(
    initrd,
    '#!ipxe\nset user-class vendorpxe\ndhcp net0 || reboot\n' +
      'chain tftp://${next-server}/${filename} || reboot\n',
  );
  return { path: '/usr/lib/ipxe/ipxe.lkrn', initrd };
}

async function watchBoot(
  server: BootServer,
  machine: VirtualMachine,
  { terminal, signal }: Options,
): Promise<number> {
  const startMs = systemClock.wallMs();
  const seen = new Set<string>();
  const interrupted = new Promise<undefined>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve(undefined);
    });
    if (signal.aborted) resolve(undefined);
  });
  const verdict = new Promise<TimelineEvent | undefined>((resolve) => {
    server.parts.timeline.subscribe((event) => {
      seen.add(event.stage);
      terminal.out(`${stageLine(terminal, event, startMs)}\n`);
      if (event.stage === 'ready') resolve(event);
    });
    systemClock.after(BOOT_LIMIT_MS, () => {
      resolve(undefined);
    });
    void machine.ended().then(() => {
      resolve(undefined);
    });
  });
  await machine.powerOn();
  const ready = await Promise.race([verdict, interrupted]);
  if (ready !== undefined) {
    await Promise.race([machine.serial.waitFor(/login: $/, LOGIN_LIMIT_MS), interrupted]);
  }
  if (signal.aborted) return 1;
  terminal.out(`\nThe screen of the machine:\n\n${indent(machine.serial.tail(12))}\n\n`);
  return judge(ready, seen, terminal);
}

/** The guest's own word counts, and the server must have seen its own initiator log in. */
function judge(
  ready: TimelineEvent | undefined,
  seen: ReadonlySet<string>,
  terminal: Terminal,
): number {
  const root = String(ready?.facts['root'] ?? '');
  if (ready === undefined || !seen.has('os') || !root.startsWith('/dev/sd')) {
    const why =
      ready === undefined
        ? 'the guest never reported itself'
        : `its root is "${root}", not our disk`;
    terminal.error(`${paint(terminal, 'red', 'The demonstration failed')}: ${why}.\n`);
    return 1;
  }
  terminal.out(
    `${paint(terminal, 'green', 'Booted')}: the guest's root ${root} is the disk that this program serves.\n\n` +
      'Try next:\n' +
      '  ./polyboot demo --firmware bios     the same by BIOS\n' +
      '  sudo ./polyboot doctor              is this host ready to boot real machines?\n' +
      '  README.md                           a Pentium with DOS in ten minutes\n',
  );
  return 0;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}
