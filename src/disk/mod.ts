export * from './chs.ts';
export * from './ipxe-geometry.ts';
export * from './mbr.ts';
export * from './sector-io.ts';
