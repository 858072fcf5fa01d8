import { resolve } from 'node:path';
import { misused, type Command } from '../command.ts';

/** TCP port of iSCSI (RFC 7143 §4.1). */
const ISCSI_PORT = '3260';

const FORMATS = ['raw', 'qcow2'];

/** `polyboot export FILE`: a bare iSCSI target. */
export const exportFile: Command = {
  words: ['export'],
  summary: 'a bare iSCSI target for a file or device: no state, LUN 0 is the disk',
  details:
    'Prints one line iscsi://ADDR:PORT/IQN/0 when ready, and stops cleanly on SIGTERM. After the\n' +
    'file has grown, SIGHUP tells the initiators.',
  args: [{ name: 'file', help: 'disk image, block device, or nbd:// address' }],
  options: [
    {
      flags: '--format <FORMAT>',
      help: 'of the file; default: by its name (.qcow2), else raw',
      choices: FORMATS,
    },
    { flags: '--backing <FILE>', help: 'what a qcow2 overlay stands on (read-only)' },
    { flags: '--backing-format <FORMAT>', help: 'of that file', choices: FORMATS },
    { flags: '--port <N>', help: 'TCP port, 0: any free one', fallback: ISCSI_PORT },
    { flags: '--listen <ADDR>', help: 'address to listen on', fallback: '127.0.0.1' },
    { flags: '--iqn <IQN>', help: 'target name' },
    { flags: '--read-only', help: 'refuse writes' },
    { flags: '--removable', help: 'a removable disk' },
    { flags: '--cdrom', help: 'a CD-ROM: read-only, blocks of 2048 bytes' },
    {
      flags: '--cache <MODE>',
      help: 'writethrough: every write is durable before it is answered',
      choices: ['writeback', 'writethrough'],
      fallback: 'writeback',
    },
    { flags: '--chap <USER>', help: 'demand CHAP with this name' },
    { flags: '--chap-secret-file <FILE>', help: 'file with the CHAP secret' },
    {
      flags: '--state <FOLDER>',
      help: 'keep reservations, saved mode pages and the log of atomic writes here',
    },
    { flags: '--digests', help: 'offer header and data digests' },
  ],
  run: (call, { local, cwd }) => {
    const port = call.integer('port') ?? 0;
    if (port > 65_535) throw misused(`--port ${port}: ports end at 65535`);
    const [iqn, chapUser] = [call.text('iqn'), call.text('chap')];
    const chapSecretFile = call.text('chap-secret-file');
    if ((chapUser === undefined) !== (chapSecretFile === undefined))
      throw misused('CHAP needs both --chap and --chap-secret-file');
    const backing = call.text('backing');
    if (backing === undefined && call.text('backing-format') !== undefined)
      throw misused('--backing-format goes with --backing');
    const [format, backingFormat] = [call.text('format'), call.text('backing-format')];
    const state = call.text('state');
    return local.export({
      file: call.arg('file'),
      port,
      listen: call.text('listen') ?? '127.0.0.1',
      readOnly: call.flag('read-only'),
      removable: call.flag('removable'),
      cdrom: call.flag('cdrom'),
      cache: call.text('cache') === 'writethrough' ? 'writethrough' : 'writeback',
      digests: call.flag('digests'),
      ...(format === undefined ? {} : { format: formatOf(format) }),
      ...(backing === undefined ? {} : { backing }),
      ...(backingFormat === undefined ? {} : { backingFormat: formatOf(backingFormat) }),
      ...(state === undefined ? {} : { stateFolder: resolve(cwd, state) }),
      ...(iqn === undefined ? {} : { iqn }),
      ...(chapUser === undefined ? {} : { chapUser }),
      ...(chapSecretFile === undefined ? {} : { chapSecretFile }),
    });
  },
};

/** One of the option's choices. */
function formatOf(text: string): 'raw' | 'qcow2' {
  return text === 'qcow2' ? 'qcow2' : 'raw';
}
