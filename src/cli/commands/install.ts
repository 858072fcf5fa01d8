import { resolve } from 'node:path';
import { parseSize, UserError } from '#base/mod.ts';
import { misused, type Call, type Command, type Context } from '../command.ts';
import type { InstallRequest } from '../local-commands.ts';

/** A system wants whole MiB, and QEMU at least one. */
const MIB = 2 ** 20;

/** `polyboot install IMAGE`: a virtual machine on a disk, for installing a system by hand. */
export const install: Command = {
  words: ['install'],
  summary: 'install a system on a disk by hand, in a virtual machine',
  details:
    'IMAGE is the name of an image, or a path with a "/". The disk is served by this program, with\n' +
    'the geometry that it will have when it boots over the network. See also: install swap, eject,\n' +
    'text, picture, type, power, stop, list.',
  args: [{ name: 'image', help: 'name of an image, or a path with a "/"' }],
  options: [
    { flags: '--floppy <FILES>', help: 'floppy images, separated by commas; the first is put in' },
    { flags: '--writable-floppy', help: 'let the machine write to the floppies' },
    { flags: '--cdrom <FILES>', help: 'CD images, separated by commas' },
    {
      flags: '--boot <DRIVE>',
      help: 'a: floppy, c: disk, d: CD; default: what was given',
      choices: ['a', 'c', 'd'],
    },
    { flags: '--memory <SIZE>', help: 'memory of the machine', fallback: '64M' },
    { flags: '--cpu <NAME>', help: "QEMU's name of the processor: 486, pentium, pentium3 …" },
    {
      flags: '--firmware <KIND>',
      help: 'firmware of the machine',
      choices: ['bios', 'uefi'],
      fallback: 'bios',
    },
    { flags: '--mend', help: 'afterwards mend the geometry of a DOS disk, where it is wrong' },
    { flags: '--vnc <PORT>', help: 'VNC on this port of 127.0.0.1 instead of a Unix socket' },
  ],
  run: async (call, context) => {
    const floppies = filesOf(call, context, 'floppy');
    const cdroms = filesOf(call, context, 'cdrom');
    const [cpu, vncPort] = [call.text('cpu'), vncPortOf(call)];
    return await context.local.install({
      ...(await diskOf(call.arg('image'), context)),
      floppies,
      writableFloppies: call.flag('writable-floppy'),
      cdroms,
      boot: bootOf(call.text('boot'), floppies, cdroms),
      memoryMib: memoryOf(call.text('memory') ?? ''),
      firmware: call.text('firmware') === 'uefi' ? 'uefi' : 'bios',
      mend: call.flag('mend'),
      signal: context.signal,
      ...(cpu === undefined ? {} : { cpu }),
      ...(vncPort === undefined ? {} : { vncPort }),
    });
  },
};

async function diskOf(
  image: string,
  context: Context,
): Promise<Pick<InstallRequest, 'name' | 'disk'>> {
  if (image.includes('/')) return { name: image, disk: { path: resolve(context.cwd, image) } };
  const { disk, frozen, kind } = await context.client.image(image);
  // Its file is read-only, which does not stop root: every overlay on it would be lost.
  if (frozen) {
    throw new UserError('conflict', 'image-frozen', {
      what: `image "${image}" cannot be installed on`,
      why: 'it is a golden image: nobody writes it, and overlays may stand on it',
      todo:
        `install on an overlay of it, and make that the next version: polyboot image overlay ` +
        `${image} NEW, polyboot install NEW, polyboot image promote NEW`,
    });
  }
  if (kind === 'iso') {
    throw new UserError('unsupported', 'image-kind', {
      what: `image "${image}" cannot be installed on`,
      why: 'it is an ISO',
      todo: 'name a disk, and put the ISO file into its drive with --cdrom FILE',
    });
  }
  return { name: image, disk: { source: disk } };
}

function filesOf(call: Call, { cwd }: Context, option: string): string[] {
  const files = (call.text(option) ?? '').split(',').filter((f) => f !== '');
  return files.map((f) => resolve(cwd, f));
}

function bootOf(
  said: string | undefined,
  floppies: readonly string[],
  cdroms: readonly string[],
): 'a' | 'c' | 'd' {
  if (said === 'a' || said === 'c' || said === 'd') return said;
  if (floppies.length > 0) return 'a';
  return cdroms.length > 0 ? 'd' : 'c';
}

function memoryOf(text: string): number {
  const bytes = parseSize(text) ?? 0;
  if (bytes < MIB) throw misused(`--memory "${text}": a size such as 32M`);
  return Math.floor(bytes / MIB);
}

/** VNC's own numbers of displays begin at this port. */
const VNC_PORT_MIN = 5900;

function vncPortOf(call: Call): number | undefined {
  const port = call.integer('vnc');
  if (port === undefined || (port >= VNC_PORT_MIN && port <= 65_535)) return port;
  throw misused(`--vnc ${port}: a port from ${VNC_PORT_MIN} to 65535`);
}
