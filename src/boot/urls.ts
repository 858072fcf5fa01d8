/**
 * The paths of the boot listener, in one place: DHCP answers name them, scripts use them, the site
 * serves them.
 */
export const PATHS = {
  /** `/boot/52-54-00-77-00-01.ipxe`: the script of one machine. */
  script: (mac: string): string => `/boot/${mac.replaceAll(':', '-')}.ipxe`,
  /** One script for all, for a router that can name a single boot file. */
  entry: '/boot/entry.ipxe',
  /** What UEFI builds of iPXE look for beside themselves. */
  autoexec: '/autoexec.ipxe',
  /** Where scripts and booted systems report what they reached. */
  report: '/boot/report',
  loader: (file: string): string => `/loader/${encodePath(file)}`,
  file: (path: string): string => `/files/${encodePath(path)}`,
  image: (name: string): string => `/images/${encodePath(name)}`,
} as const;

/** `http://10.0.0.1:8080`. */
export function baseUrl(address: string, port: number): string {
  return `http://${address}${port === 80 ? '' : `:${port}`}`;
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
