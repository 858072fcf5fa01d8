import type { InspectionView } from '#api/mod.ts';
import { formatBytes } from '#base/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import { safe, type Screen } from '../screen.ts';

/** `polyboot image inspect`. */
export const imageInspect: Command = {
  words: ['image', 'inspect'],
  summary: 'look into an image: partitions, geometry as iPXE will guess it, warnings',
  args: [{ name: 'name', help: 'image' }],
  options: [JSON_OPTION],
  run: async (call, { client, screen }) => {
    const report = await client.inspectImage(call.arg('name'));
    if (call.flag('json')) screen.json(report);
    else showReport(screen, report);
    return 0;
  },
};

function showReport(screen: Screen, report: InspectionView): void {
  const { cylinders, heads, sectorsPerTrack } = report.geometry;
  const verdict = ({ bootable, why }: InspectionView['bios']): string =>
    `${bootable ? 'boots' : 'does not boot'}: ${why}`;
  screen.fields({
    size: `${formatBytes(report.sizeBytes)} (${report.sizeBytes} bytes)`,
    table: report.table,
    'C/H/S': `${cylinders}/${heads}/${sectorsPerTrack} as iPXE will guess it, DOS reaches ${formatBytes(report.reachableBytes)}`,
    BIOS: verdict(report.bios),
    UEFI: verdict(report.uefi),
    'file system': report.filesystem && filesystemText(report.filesystem),
  });
  if (report.partitions.length > 0) {
    screen.line();
    screen.table(
      ['NO', 'TYPE', 'START', 'SIZE', 'ACTIVE', 'FILE SYSTEM'],
      report.partitions.map((p) => [
        String(p.number),
        p.typeName,
        String(p.startLba),
        formatBytes(p.sizeBytes),
        p.active ? 'yes' : '',
        p.filesystem === undefined ? '' : filesystemText(p.filesystem),
      ]),
    );
  }
  for (const { text } of report.warnings)
    screen.line(`${screen.paint('yellow', 'warning:')} ${safe(text)}`);
}

function filesystemText({ kind, label }: { kind: string; label: string }): string {
  return label === '' ? kind : `${kind} "${label}"`;
}
