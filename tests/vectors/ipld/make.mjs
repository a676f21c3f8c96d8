// Writes the vectors beside this file; see README.md.
import { writeFileSync, createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CarWriter } from '@ipld/car'

const out = process.argv[2]
const content = new Uint8Array(1000).map((_, i) => (i * i + 7 * i) & 0xff)
async function car (name, options, bytes = content) {
  const blocks = []
  const store = { async put (cid, block) { blocks.push({ cid, bytes: block }); return cid } }
  let root
  for await (const entry of importer([{ content: bytes }], store, options)) root = entry.cid
  const { writer, out: stream } = CarWriter.create([root])
  const written = pipeline(Readable.from(stream), createWriteStream(`${out}/${name}.car`))
  for (const block of blocks) await writer.put(block)
  await writer.close()
  await written
  console.log(`${name}.car`, root.toString())
}
const small = { cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: 100 }), layout: balanced({ maxChildrenPerNode: 4 }), reduceSingleLeafToSelf: true }
await car('raw-leaves', small)
await car('dag-pb-leaves', { ...small, rawLeaves: false, leafType: 'file' })
await car('dag-pb-raw-type', { ...small, rawLeaves: false, leafType: 'raw' })
await car('one-leaf', { ...small, chunker: fixedSize({ chunkSize: 2000 }) })
await car('empty', { ...small, rawLeaves: false }, new Uint8Array(0))
await car('one-link', { ...small, reduceSingleLeafToSelf: false }, new Uint8Array([1, 2, 3]))
await car('cid-version-0', { ...small, cidVersion: 0, rawLeaves: false })
