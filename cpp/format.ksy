meta:
  id: waterfill_format
  title: waterfill files (codec, index, segment, manifest, tombstones, graph) and write-ahead logs
  license: MIT
  ks-version: 0.11
  endian: le
doc: |
  FORMAT.md, for machines: version 1.6 of the container and version 1.0 of the write-ahead log.

  Kaitai Struct compiles this to readers in a dozen languages. They decode every section into its
  records and refuse what is out of place or out of range; they verify neither checksums nor whether
  numbers fit each other, and are not made for speed. tests/format/test_format_twin.py reads files with
  the reader for Python and compares what it finds with what waterfill says.

  Numbers whose width the file tells elsewhere have the width that follows from the size of their
  section, so that a segment can be read without its codec. Numbers of half precision are bits.
doc-ref: cpp/FORMAT.md
seq:
  - id: magic
    type: u4be
    enum: file_type
    valid:
      in-enum: true
  - id: magic_newlines
    contents: [0x0d, 0x0a, 0x1a, 0x0a]
  - id: container
    type: container
    if: magic == file_type::container
  - id: log
    type: log
    if: magic == file_type::log
enums:
  file_type:
    0x8957464c: container
    0x89574641: log
  kind:
    1: codec
    2: flat_index
    3: ivf_index
    4: segment
    5: manifest
    6: tombstones
    7: graph_index
  metric:
    0: inner_product
    1: l2
    2: cosine
  row_kind:
    0: float32
    1: float16
    2: int8
  folder_row_kind:
    0: none
    1: float32
    2: float16
    3: int8
  group_kind:
    0: vector
    1: binary
  cell_rule:
    1: direction
  id_form:
    0: consecutive
    1: ascending
    2: ordered
  label_form:
    0: sorted
    1: bitmap
  record_kind:
    1: append
    2: upsert
    3: remove
types:
  container:
    seq:
      - id: major
        type: u2
        valid: 1
      - id: minor
        type: u2
      - id: kind
        type: u4
        enum: kind
        valid:
          in-enum: true
      - id: len_file
        type: u8
        valid: _root._io.size
      - id: num_sections
        type: u4
        valid:
          max: 1024
      - id: table_crc
        type: u4
      - id: reserved
        contents: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      - id: header_crc
        type: u4
      - id: sections
        type: section(_index)
        repeat: expr
        repeat-expr: num_sections
    instances:
      end_of_table:
        value: 64 + 32 * num_sections
      params_at:
        type: search('PARAMS', 0)
      index_at:
        type: search('INDEX', 0)
      refine_at:
        type: search('REFINE', 0)
      lists_at:
        type: search('LISTS', 0)
      dead_at:
        type: search('DEAD', 0)
      graph_at:
        type: search('GRAPH', 0)
      graph:
        value: sections[graph_at.result].body.as<graph>
      d:
        value: 'kind == kind::graph_index ? graph.d : params.d'
      params:
        value: sections[params_at.result].body.as<params>
        doc: The record of another section, for those whose layout depends on it.
      index:
        value: sections[index_at.result].body.as<index>
      refine:
        value: sections[refine_at.result].body.as<refine>
      lists:
        value: sections[lists_at.result].body.as<lists>
      dead:
        value: sections[dead_at.result].body.as<dead>
      low_at:
        type: search('LOW', 0)
      low_width:
        value: 'index.num_vectors == 0 ? 1 : sections[low_at.result].len_body / index.num_vectors'
        doc: Bytes of a vector in LOW, half the number of groups.
  search:
    doc: The number of the section with a tag; an error if there is none.
    params:
      - id: tag
        type: str
      - id: number
        type: u4
    instances:
      is_here:
        value: _root.container.sections[number].tag == tag
      next:
        type: search(tag, number + 1)
        if: not is_here
      result:
        value: 'is_here ? number : next.result.as<u4>'
  section:
    params:
      - id: number
        type: u4
    seq:
      - id: tag
        type: strz
        size: 8
        encoding: ASCII
      - id: offset
        type: u8
        valid:
          expr: _ % 64 == 0 and _ >= end_before and _ - end_before < 64
      - id: len_body
        type: u8
      - id: crc
        type: u4
      - id: can_be_skipped
        type: b1le
      - id: flags
        type: b31le
    instances:
      end:
        value: offset + len_body
      end_before:
        value: 'number == 0 ? _parent.as<container>.end_of_table : _parent.as<container>.sections[number - 1].end'
      padding:
        io: _root._io
        pos: end_before
        size: offset - end_before
        doc: The zeros before the section.
      bytes:
        io: _root._io
        pos: offset
        size: len_body
      body:
        io: _root._io
        pos: offset
        size: len_body
        type:
          switch-on: tag
          cases:
            '"PARAMS"': params
            '"SHAPES"': shapes
            '"MEAN"': floats
            '"BASIS"': float_rows(_root.container.d)
            '"WEIGHTS"': weights
            '"BOOKS"': float_rows(256)
            '"CELLS"': float_rows(16)
            '"CELLSPEC"': cellspec
            '"CENTROID"': float_rows(_root.container.params.d)
            '"CELLRULE"': cellrule
            '"PROBES"': probes
            '"RESTS"': rests
            '"JOINT"': joint
            '"MEASURED"': measured
            '"PLAN"': text
            '"MANIFEST"': text
            '"INDEX"': index
            '"LISTOF"': numbers(len_body, _root.container.index.num_vectors)
            '"HIGH"': high
            '"LOW"': low
            '"SCALE"': octets
            '"EXTRA"': octets
            '"IDS"': ids
            '"IVF"': ivf
            '"TARGET"': target
            '"QUANT"': octets
            '"REFINE"': refine
            '"ROWS"': rows
            '"LISTS"': lists
            '"LABLOW"': lablow
            '"LABBITS"': labbits
            '"LABSAMP"': labsamp
            '"IDINFO"': idinfo
            '"IDORDER"': numbers(4, 1)
            '"SEGMENT"': mark
            '"FOLDER"': folder
            '"CODECS"': codecs
            '"SEGMENTS"': segments
            '"DEAD"': dead
            '"LABELS"': labels
            '"GRAPH"': graph
            '"STEPS"': steps
            '"FRONTS"': fronts
            '"REMAINS"': remains
            '"LINKS"': links
            '"NEXTID"': next_id
            _: octets
  # Sections of a codec
  params:
    seq:
      - id: d
        type: u4
        valid:
          min: 1
          max: 131072
      - id: num_coded
        type: u4
        valid:
          min: 1
          max: 2 * d
      - id: num_groups
        type: u4
        valid:
          min: 1
          max: num_coded
      - id: normalize
        type: u4
        valid:
          max: 1
      - id: alpha_ip
        type: u4
        valid:
          max: 4
      - id: alpha_l2
        type: u4
        valid:
          max: 4
      - id: depth_ip
        type: depth
      - id: depth_l2
        type: depth
      - id: scale
        type: log_scale
      - id: extra
        type: log_scale
      - id: constant_norm
        type: f8
        valid:
          expr: _ >= 0
      - id: classic_multiplier
        type: f8
        valid:
          expr: _ >= 0
  depth:
    seq:
      - id: refine_factor
        type: u4
        valid:
          min: 1
      - id: coarse_groups
        type: u4
  log_scale:
    seq:
      - id: low
        type: f8
        valid:
          expr: _ >= -1000 and _ <= 1000
      - id: step
        type: f8
        valid:
          expr: _ > 0 and _ <= 1
  shapes:
    seq:
      - id: groups
        type: shape
        repeat: eos
  shape:
    seq:
      - id: num_dimensions
        type: u4
        valid:
          min: 1
      - id: kind
        type: u4
        enum: group_kind
        valid:
          in-enum: true
  cellspec:
    seq:
      - id: num_cells
        type: u4
        valid:
          min: 1
          max: 65536
      - id: calibration_rows
        type: u4
      - id: middle
        type: f8
        valid:
          expr: _ >= 0
      - id: norm_range
        type: f8
        valid:
          expr: _ >= 0
      - id: centroid_range
        type: f8
        valid:
          expr: _ >= 0
      - id: prune_sigma_ip
        type: f8
        valid:
          expr: _ >= 0
      - id: prune_sigma_l2
        type: f8
        valid:
          expr: _ >= 0
  cellrule:
    seq:
      - id: rule
        type: u4
        enum: cell_rule
        valid:
          in-enum: true
  probes:
    seq:
      - id: num_shares
        type: u4
        valid:
          max: 16
      - id: decay_ip
        type: f4
        valid:
          expr: _ >= 0 and _ <= 1
      - id: decay_l2
        type: f4
        valid:
          expr: _ >= 0 and _ <= 1
      - id: missed_ip
        type: share
        repeat: expr
        repeat-expr: num_shares
      - id: missed_l2
        type: share
        repeat: expr
        repeat-expr: num_shares
  share:
    seq:
      - id: share
        type: f4
        valid:
          expr: _ >= 0 and _ <= 1
  rests:
    seq:
      - id: second_bytes
        type: second_byte
        repeat: eos
  second_byte:
    seq:
      - id: column
        type: u4
      - id: first_column
        type: u4
  joint:
    seq:
      - id: exponent
        type: f4
        valid:
          expr: _ > 0 and _ <= 100
  measured:
    seq:
      - id: distortion
        type: f8
        valid:
          expr: _ > 0
  text:
    seq:
      - id: json
        type: str
        encoding: UTF-8
        size-eos: true
  floats:
    seq:
      - id: values
        type: f4
        repeat: eos
  weights:
    seq:
      - id: values
        type: f4
        repeat: eos
        valid:
          expr: _ > 0 and _ <= 1e30
  float_rows:
    params:
      - id: width
        type: u4
    seq:
      - id: rows
        type: float_row(width)
        repeat: eos
  float_row:
    params:
      - id: width
        type: u4
    seq:
      - id: values
        type: f4
        repeat: expr
        repeat-expr: width
  octets:
    seq:
      - id: values
        size-eos: true
  # Sections of an index
  index:
    seq:
      - id: metric
        type: u4
        enum: metric
        valid:
          in-enum: true
      - id: uses_extra
        type: u4
        valid:
          max: 1
      - id: num_vectors
        type: u8
  numbers:
    doc: Unsigned numbers of len / count bytes each.
    params:
      - id: len
        type: u8
      - id: count
        type: u8
    seq:
      - id: values
        type:
          switch-on: 'count == 0 ? 1 : len / count'
          cases:
            1: u1
            2: u2
            _: u4
        repeat: eos
  high:
    seq:
      - id: blocks
        size: 32 * _root.container.low_width
        repeat: expr
        repeat-expr: _io.size / (32 * _root.container.low_width)
  low:
    seq:
      - id: rows
        size: _root.container.low_width
        repeat: expr
        repeat-expr: _io.size / _root.container.low_width
  ids:
    seq:
      - id: values
        type: s8
        repeat: eos
        valid:
          expr: _ != -1
  ivf:
    seq:
      - id: nprobe
        type: u4
        valid:
          min: 1
      - id: reserved
        type: u4
        valid: 0
  target:
    seq:
      - id: recall
        type: f8
        valid:
          expr: _ > 0 and _ <= 1
  refine:
    seq:
      - id: kind
        type: u4
        enum: row_kind
        valid:
          in-enum: true
      - id: k_factor
        type: f4
        valid:
          min: 1
  rows:
    seq:
      - id: rows
        type: refine_row(_io.size / _root.container.index.num_vectors)
        size: _io.size / _root.container.index.num_vectors
        repeat: expr
        repeat-expr: '_io.size == 0 ? 0 : _io.size / (_io.size / _root.container.index.num_vectors)'
  refine_row:
    params:
      - id: len
        type: u8
    seq:
      - id: middle
        type: f4
        if: _root.container.refine.kind == row_kind::int8
      - id: step
        type: f4
        if: _root.container.refine.kind == row_kind::int8
      - id: values
        type:
          switch-on: _root.container.refine.kind
          cases:
            'row_kind::float32': f4
            'row_kind::float16': u2
            'row_kind::int8': s1
        repeat: eos
  # Sections for use in place
  lists:
    seq:
      - id: records
        type: list
        repeat: eos
  list:
    seq:
      - id: num_vectors
        type: u4
      - id: num_words
        type: u4
      - id: scale_least
        type: u1
      - id: scale_largest
        type: u1
      - id: extra_least
        type: u1
      - id: extra_largest
        type: u1
      - id: reserved
        type: u4
        valid: 0
    instances:
      num_samples:
        value: (num_vectors + 63) / 64
  lablow:
    seq:
      - id: lists
        type: list_numbers(_root.container.lists.records[_index].num_vectors)
        repeat: expr
        repeat-expr: _root.container.lists.records.size
  list_numbers:
    params:
      - id: count
        type: u4
    seq:
      - id: values
        type:
          switch-on: _root.container.lists.records.size > 2048
          cases:
            true: u2
            false: u1
        repeat: expr
        repeat-expr: count
  labbits:
    seq:
      - id: lists
        type: words(_root.container.lists.records[_index].num_words)
        repeat: expr
        repeat-expr: _root.container.lists.records.size
  labsamp:
    seq:
      - id: lists
        type: words(_root.container.lists.records[_index].num_samples)
        repeat: expr
        repeat-expr: _root.container.lists.records.size
  words:
    params:
      - id: count
        type: u4
    seq:
      - id: values
        type: u8
        repeat: expr
        repeat-expr: count
  idinfo:
    seq:
      - id: next
        type: s8
      - id: first
        type: s8
      - id: form
        type: u4
        enum: id_form
        valid:
          in-enum: true
      - id: reserved
        type: u4
        valid: 0
  # Files of a folder
  mark:
    seq:
      - id: fingerprint
        size: 16
  folder:
    seq:
      - id: metric
        type: u4
        enum: metric
        valid:
          in-enum: true
      - id: d
        type: u4
      - id: number
        type: u8
      - id: log
        type: u8
      - id: next_file
        type: u8
      - id: next_id
        type: s8
      - id: nprobe
        type: u4
      - id: row_kind
        type: u4
        enum: folder_row_kind
        valid:
          in-enum: true
      - id: k_factor
        type: f4
        valid:
          min: 1
      - id: reserved
        type: u4
        valid: 0
  codecs:
    seq:
      - id: records
        type: codec_entry
        repeat: eos
  codec_entry:
    seq:
      - id: number
        type: u8
      - id: fingerprint
        size: 16
  segments:
    seq:
      - id: records
        type: segment_entry
        repeat: eos
  segment_entry:
    seq:
      - id: number
        type: u8
      - id: num_vectors
        type: u8
      - id: len_file
        type: u8
      - id: codec
        type: u8
      - id: tombstones
        type: u8
      - id: num_dead
        type: u8
      - id: crc
        type: u4
      - id: tombstones_crc
        type: u4
  dead:
    seq:
      - id: segment
        type: u8
      - id: num_vectors
        type: u8
      - id: num_dead
        type: u8
      - id: form
        type: u4
        enum: label_form
        valid:
          in-enum: true
      - id: reserved
        type: u4
        valid: 0
  labels:
    seq:
      - id: labels
        type: u4
        repeat: expr
        repeat-expr: _root.container.dead.num_dead
        if: _root.container.dead.form == label_form::sorted
      - id: bitmap
        type: b1le
        repeat: expr
        repeat-expr: _root.container.dead.num_vectors
        if: _root.container.dead.form == label_form::bitmap
      - id: padding
        type: b1le
        repeat: expr
        repeat-expr: (8 - _root.container.dead.num_vectors % 8) % 8
        valid: false
        if: _root.container.dead.form == label_form::bitmap
  # Sections of a graph index
  graph:
    seq:
      - id: metric
        type: u4
        enum: metric
        valid:
          in-enum: true
      - id: d
        type: u4
        valid:
          min: 1
          max: 131072
      - id: num_links
        type: u4
        valid:
          min: 2
          max: 256
      - id: ef_search
        type: u4
        valid:
          min: 1
      - id: ef_construction
        type: u4
        valid:
          min: 1
      - id: has_ids
        type: u4
        valid:
          max: 1
      - id: num_vectors
        type: u8
        valid:
          max: 2147483647
  steps:
    seq:
      - id: values
        type: f4
        repeat: eos
        valid:
          expr: _ > 0
  fronts:
    seq:
      - id: rows
        type: front
        repeat: expr
        repeat-expr: _root.container.graph.num_vectors
  front:
    seq:
      - id: scale
        type: f4
        valid:
          expr: _ >= 0
      - id: front_scale
        type: f4
        valid:
          expr: _ >= 0
      - id: bias
        type: f4
      - id: high_nibbles
        size: 52
  remains:
    seq:
      - id: rows
        type: remain
        repeat: expr
        repeat-expr: _root.container.graph.num_vectors
  remain:
    seq:
      - id: low_nibbles
        size: 52
      - id: octets
        size: '_root.container.graph.d > 104 ? _root.container.graph.d - 104 : 0'
  links:
    seq:
      - id: rows
        type: link_row
        repeat: expr
        repeat-expr: _root.container.graph.num_vectors
  link_row:
    seq:
      - id: values
        type: u4
        repeat: expr
        repeat-expr: _root.container.graph.num_links
        valid:
          expr: _ < _root.container.graph.num_vectors or _ == 4294967295
  next_id:
    seq:
      - id: next
        type: s8
  # Write-ahead log
  log:
    seq:
      - id: major
        type: u2
        valid: 1
      - id: minor
        type: u2
        valid: 0
      - id: len_code
        type: u4
        valid:
          min: 1
          max: 262147
      - id: len_row
        type: u4
        valid:
          max: 524288
      - id: reserved
        type: u4
        valid: 0
      - id: number
        type: u8
        valid:
          min: 1
      - id: fingerprint
        size: 16
      - id: padding
        contents: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      - id: header_crc
        type: u4
      - id: records
        type: log_record
        repeat: until
        repeat-until: _io.eof
        if: not _io.eof
  log_record:
    doc: |
      A record, or the torn tail of a log that ends within a record or in zeros. Sectors that were
      not written inside the last record are found by its checksums, which are not verified here.
    seq:
      - id: torn
        size-eos: true
        if: is_torn
      - id: kind
        type: u4
        enum: record_kind
        valid:
          in-enum: true
        if: not is_torn
      - id: num_vectors
        type: u4
        if: not is_torn
      - id: sequence
        type: u8
        if: not is_torn
      - id: len_contents
        type: u8
        valid: num_vectors * len_vector
        if: not is_torn
      - id: contents_crc
        type: u4
        if: not is_torn
      - id: header_crc
        type: u4
        if: not is_torn
      - id: ids
        type: s8
        repeat: expr
        repeat-expr: num_vectors
        if: not is_torn
      - id: codes
        size: _parent.len_code
        repeat: expr
        repeat-expr: num_vectors
        if: not is_torn and kind != record_kind::remove
      - id: rows
        size: _parent.len_row
        repeat: expr
        repeat-expr: num_vectors
        if: not is_torn and kind != record_kind::remove
      - id: end_mark
        contents: [0x45, 0x4e, 0x44, 0x0a]
        if: not is_torn
    instances:
      start:
        value: _io.pos
        doc: Evaluated first, before anything of the record is read.
      room:
        value: _io.size - start
      peeked_kind:
        pos: start
        type: u4
        if: room >= 32
      peeked_len:
        pos: start + 16
        type: u8
        if: room >= 32
      is_torn:
        value: 'room < 32 ? true : peeked_kind == 0 ? true : room - 32 < peeked_len + 4'
      len_vector:
        value: '8 + (kind == record_kind::remove ? 0 : _parent.len_code + _parent.len_row)'
