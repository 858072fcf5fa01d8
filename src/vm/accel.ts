import { accessSync, constants, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { EnvironmentError, errnoOf, messageOf, silentLog, type Log } from '#base/mod.ts';
import { VirtualMachine } from './machine.ts';
import type { Accel } from './spec.ts';

/** Which accelerator to use, and why, in words for a person. */
export type AccelChoice = { readonly accel: Accel; readonly reason: string };

/** What `chooseAccel` needs from the host; each part can be replaced in a test. */
export type AccelHost = {
  /** True when /dev/kvm can be opened. */
  readonly kvmOpens: () => boolean;
  /** Changes with every boot of the host: what was found out holds until then. */
  readonly bootId: () => string;
  /** Boots a sector; fulfilled with undefined when it ran, else with what went wrong. */
  readonly probe: (accel: Accel) => Promise<string | undefined>;
  readonly cacheFile: string;
};

const KVM_DEVICE = '/dev/kvm';
/** The probe takes 3 s translated on a slow host and under 2 s on a KVM that works. */
const PROBE_LIMIT_MS = 10_000;
const PROBE_WORD = 'POLYBOOT-PROBE';

/**
 * KVM only where it was seen working. /dev/kvm exists also in nested and paravirtual guests in
 * which iPXE's 16-bit code, OVMF and Linux hang or fault; so a sector is booted through iPXE once
 * per boot of the host, and the answer kept in the cache folder.
 */
export async function chooseAccel(host: AccelHost = accelHost()): Promise<AccelChoice> {
  if (!host.kvmOpens()) return { accel: 'tcg', reason: `${KVM_DEVICE} cannot be opened` };
  const bootId = host.bootId();
  const kept = await readKept(host.cacheFile);
  if (kept !== undefined && kept.bootId === bootId) return kept.choice;
  const failure = await host.probe('kvm');
  const choice: AccelChoice =
    failure === undefined
      ? { accel: 'kvm', reason: 'KVM booted a test sector' }
      : { accel: 'tcg', reason: `KVM did not boot a test sector: ${failure}` };
  try {
    await mkdir(dirname(host.cacheFile), { recursive: true });
    await writeFile(host.cacheFile, `${JSON.stringify({ bootId, choice })}\n`);
  } catch (e) {
    // A home that cannot be written, or a full disk: it is found out again the next time.
    if (errnoOf(e) === undefined) throw e;
  }
  return choice;
}

/** The real host. `cacheFolder` defaults to `~/.cache/polyboot` (or XDG_CACHE_HOME). */
export function accelHost(cacheFolder = defaultCacheFolder(), log: Log = silentLog): AccelHost {
  return {
    kvmOpens,
    bootId: () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    probe: (accel) => probeAccel(accel, log),
    cacheFile: join(cacheFolder, 'accel.json'),
  };
}

/**
 * Boots a sector over QEMU's own network: its iPXE fetches it by TFTP and jumps to it in 16-bit
 * mode; the sector prints a word on the serial port. Returns undefined when the word came, else
 * what went wrong.
 */
export async function probeAccel(accel: Accel, log: Log = silentLog): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-probe-'));
  let machine: VirtualMachine | undefined;
  try {
    await writeFile(join(folder, 'sector'), printingSector(`${PROBE_WORD}\n`));
    machine = await VirtualMachine.start(
      {
        name: 'accel-probe',
        firmware: 'bios',
        memoryMib: 64,
        accel,
        vga: 'none',
        nics: [
          {
            backend: { kind: 'user', tftpFolder: folder, bootFile: 'sector' },
            mac: '52:54:00:50:42:01',
            bootIndex: 1,
          },
        ],
      },
      { log },
    );
    await machine.powerOn();
    await machine.serial.waitFor(new RegExp(PROBE_WORD), PROBE_LIMIT_MS);
    return undefined;
  } catch (e) {
    return e instanceof EnvironmentError ? e.explanation.what : messageOf(e);
  } finally {
    await machine?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Machine code for a PXE boot file that prints `text` on COM1 and halts. */
export function printingSector(text: string): Uint8Array {
  const code = [0xba, 0xf8, 0x03]; // mov dx, 0x3f8
  for (const byte of Buffer.from(text, 'latin1')) code.push(0xb0, byte, 0xee); // mov al, byte; out
  code.push(0xfa, 0xf4, 0xeb, 0xfd); // cli; hlt; jmp to hlt
  return Uint8Array.from(code);
}

function kvmOpens(): boolean {
  try {
    accessSync(KVM_DEVICE, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

type Kept = { readonly bootId: string; readonly choice: AccelChoice };

/** What was found out earlier; anything that is not exactly that counts as nothing. */
async function readKept(file: string): Promise<Kept | undefined> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
  const kept = value as { bootId?: unknown; choice?: { accel?: unknown; reason?: unknown } } | null;
  const accel = kept?.choice?.accel;
  const reason = kept?.choice?.reason;
  if (typeof kept?.bootId !== 'string' || typeof reason !== 'string') return undefined;
  if (accel !== 'tcg' && accel !== 'kvm') return undefined;
  return { bootId: kept.bootId, choice: { accel, reason } };
}

function defaultCacheFolder(): string {
  const xdg = process.env['XDG_CACHE_HOME'];
  return join(xdg === undefined || xdg === '' ? join(homedir(), '.cache') : xdg, 'polyboot');
}
