# format.ksy of SHA-256 edb9426be1e26e7613d131d2fac4ba410a09214c6c15837695b60edd9fc6f750
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO
from enum import IntEnum


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class WaterfillFormat(KaitaiStruct):
    """FORMAT.md, for machines: version 1.6 of the container and version 1.0 of the write-ahead log.

    Kaitai Struct compiles this to readers in a dozen languages. They decode every section into its
    records and refuse what is out of place or out of range; they verify neither checksums nor whether
    numbers fit each other, and are not made for speed. tests/format/test_format_twin.py reads files with
    the reader for Python and compares what it finds with what waterfill says.

    Numbers whose width the file tells elsewhere have the width that follows from the size of their
    section, so that a segment can be read without its codec. Numbers of half precision are bits.

    .. seealso::
       cpp/FORMAT.md
    """

    class CellRule(IntEnum):
        direction = 1

    class FileType(IntEnum):
        log = 2304198209
        container = 2304198220

    class FolderRowKind(IntEnum):
        none = 0
        float32 = 1
        float16 = 2
        int8 = 3

    class GroupKind(IntEnum):
        vector = 0
        binary = 1

    class IdForm(IntEnum):
        consecutive = 0
        ascending = 1
        ordered = 2

    class Kind(IntEnum):
        codec = 1
        flat_index = 2
        ivf_index = 3
        segment = 4
        manifest = 5
        tombstones = 6
        graph_index = 7

    class LabelForm(IntEnum):
        sorted = 0
        bitmap = 1

    class Metric(IntEnum):
        inner_product = 0
        l2 = 1
        cosine = 2

    class RecordKind(IntEnum):
        append = 1
        upsert = 2
        remove = 3

    class RowKind(IntEnum):
        float32 = 0
        float16 = 1
        int8 = 2
    def __init__(self, _io, _parent=None, _root=None):
        super(WaterfillFormat, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.magic = KaitaiStream.resolve_enum(WaterfillFormat.FileType, self._io.read_u4be())
        if not isinstance(self.magic, WaterfillFormat.FileType):
            raise kaitaistruct.ValidationNotInEnumError(self.magic, self._io, u"/seq/0")
        self.magic_newlines = self._io.read_bytes(4)
        if not self.magic_newlines == b"\x0D\x0A\x1A\x0A":
            raise kaitaistruct.ValidationNotEqualError(b"\x0D\x0A\x1A\x0A", self.magic_newlines, self._io, u"/seq/1")
        if self.magic == WaterfillFormat.FileType.container:
            pass
            self.container = WaterfillFormat.Container(self._io, self, self._root)

        if self.magic == WaterfillFormat.FileType.log:
            pass
            self.log = WaterfillFormat.Log(self._io, self, self._root)



    def _fetch_instances(self):
        pass
        if self.magic == WaterfillFormat.FileType.container:
            pass
            self.container._fetch_instances()

        if self.magic == WaterfillFormat.FileType.log:
            pass
            self.log._fetch_instances()


    class Cellrule(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Cellrule, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.rule = KaitaiStream.resolve_enum(WaterfillFormat.CellRule, self._io.read_u4le())
            if not isinstance(self.rule, WaterfillFormat.CellRule):
                raise kaitaistruct.ValidationNotInEnumError(self.rule, self._io, u"/types/cellrule/seq/0")


        def _fetch_instances(self):
            pass


    class Cellspec(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Cellspec, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.num_cells = self._io.read_u4le()
            if not self.num_cells >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.num_cells, self._io, u"/types/cellspec/seq/0")
            if not self.num_cells <= 65536:
                raise kaitaistruct.ValidationGreaterThanError(65536, self.num_cells, self._io, u"/types/cellspec/seq/0")
            self.calibration_rows = self._io.read_u4le()
            self.middle = self._io.read_f8le()
            _ = self.middle
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.middle, self._io, u"/types/cellspec/seq/2")
            self.norm_range = self._io.read_f8le()
            _ = self.norm_range
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.norm_range, self._io, u"/types/cellspec/seq/3")
            self.centroid_range = self._io.read_f8le()
            _ = self.centroid_range
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.centroid_range, self._io, u"/types/cellspec/seq/4")
            self.prune_sigma_ip = self._io.read_f8le()
            _ = self.prune_sigma_ip
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.prune_sigma_ip, self._io, u"/types/cellspec/seq/5")
            self.prune_sigma_l2 = self._io.read_f8le()
            _ = self.prune_sigma_l2
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.prune_sigma_l2, self._io, u"/types/cellspec/seq/6")


        def _fetch_instances(self):
            pass


    class CodecEntry(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.CodecEntry, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.number = self._io.read_u8le()
            self.fingerprint = self._io.read_bytes(16)


        def _fetch_instances(self):
            pass


    class Codecs(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Codecs, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.records = []
            i = 0
            while not self._io.is_eof():
                self.records.append(WaterfillFormat.CodecEntry(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.records)):
                pass
                self.records[i]._fetch_instances()



    class Container(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Container, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.major = self._io.read_u2le()
            if not self.major == 1:
                raise kaitaistruct.ValidationNotEqualError(1, self.major, self._io, u"/types/container/seq/0")
            self.minor = self._io.read_u2le()
            self.kind = KaitaiStream.resolve_enum(WaterfillFormat.Kind, self._io.read_u4le())
            if not isinstance(self.kind, WaterfillFormat.Kind):
                raise kaitaistruct.ValidationNotInEnumError(self.kind, self._io, u"/types/container/seq/2")
            self.len_file = self._io.read_u8le()
            if not self.len_file == self._root._io.size():
                raise kaitaistruct.ValidationNotEqualError(self._root._io.size(), self.len_file, self._io, u"/types/container/seq/3")
            self.num_sections = self._io.read_u4le()
            if not self.num_sections <= 1024:
                raise kaitaistruct.ValidationGreaterThanError(1024, self.num_sections, self._io, u"/types/container/seq/4")
            self.table_crc = self._io.read_u4le()
            self.reserved = self._io.read_bytes(28)
            if not self.reserved == b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00":
                raise kaitaistruct.ValidationNotEqualError(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", self.reserved, self._io, u"/types/container/seq/6")
            self.header_crc = self._io.read_u4le()
            self.sections = []
            for i in range(self.num_sections):
                self.sections.append(WaterfillFormat.Section(i, self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.sections)):
                pass
                self.sections[i]._fetch_instances()

            _ = self.dead_at
            if hasattr(self, '_m_dead_at'):
                pass
                self._m_dead_at._fetch_instances()

            _ = self.graph_at
            if hasattr(self, '_m_graph_at'):
                pass
                self._m_graph_at._fetch_instances()

            _ = self.index_at
            if hasattr(self, '_m_index_at'):
                pass
                self._m_index_at._fetch_instances()

            _ = self.lists_at
            if hasattr(self, '_m_lists_at'):
                pass
                self._m_lists_at._fetch_instances()

            _ = self.low_at
            if hasattr(self, '_m_low_at'):
                pass
                self._m_low_at._fetch_instances()

            _ = self.params_at
            if hasattr(self, '_m_params_at'):
                pass
                self._m_params_at._fetch_instances()

            _ = self.refine_at
            if hasattr(self, '_m_refine_at'):
                pass
                self._m_refine_at._fetch_instances()


        @property
        def d(self):
            if hasattr(self, '_m_d'):
                return self._m_d

            self._m_d = (self.graph.d if self.kind == WaterfillFormat.Kind.graph_index else self.params.d)
            return getattr(self, '_m_d', None)

        @property
        def dead(self):
            if hasattr(self, '_m_dead'):
                return self._m_dead

            self._m_dead = self.sections[self.dead_at.result].body
            return getattr(self, '_m_dead', None)

        @property
        def dead_at(self):
            if hasattr(self, '_m_dead_at'):
                return self._m_dead_at

            self._m_dead_at = WaterfillFormat.Search(u"DEAD", 0, self._io, self, self._root)
            return getattr(self, '_m_dead_at', None)

        @property
        def end_of_table(self):
            if hasattr(self, '_m_end_of_table'):
                return self._m_end_of_table

            self._m_end_of_table = 64 + 32 * self.num_sections
            return getattr(self, '_m_end_of_table', None)

        @property
        def graph(self):
            if hasattr(self, '_m_graph'):
                return self._m_graph

            self._m_graph = self.sections[self.graph_at.result].body
            return getattr(self, '_m_graph', None)

        @property
        def graph_at(self):
            if hasattr(self, '_m_graph_at'):
                return self._m_graph_at

            self._m_graph_at = WaterfillFormat.Search(u"GRAPH", 0, self._io, self, self._root)
            return getattr(self, '_m_graph_at', None)

        @property
        def index(self):
            if hasattr(self, '_m_index'):
                return self._m_index

            self._m_index = self.sections[self.index_at.result].body
            return getattr(self, '_m_index', None)

        @property
        def index_at(self):
            if hasattr(self, '_m_index_at'):
                return self._m_index_at

            self._m_index_at = WaterfillFormat.Search(u"INDEX", 0, self._io, self, self._root)
            return getattr(self, '_m_index_at', None)

        @property
        def lists(self):
            if hasattr(self, '_m_lists'):
                return self._m_lists

            self._m_lists = self.sections[self.lists_at.result].body
            return getattr(self, '_m_lists', None)

        @property
        def lists_at(self):
            if hasattr(self, '_m_lists_at'):
                return self._m_lists_at

            self._m_lists_at = WaterfillFormat.Search(u"LISTS", 0, self._io, self, self._root)
            return getattr(self, '_m_lists_at', None)

        @property
        def low_at(self):
            if hasattr(self, '_m_low_at'):
                return self._m_low_at

            self._m_low_at = WaterfillFormat.Search(u"LOW", 0, self._io, self, self._root)
            return getattr(self, '_m_low_at', None)

        @property
        def low_width(self):
            """Bytes of a vector in LOW, half the number of groups."""
            if hasattr(self, '_m_low_width'):
                return self._m_low_width

            self._m_low_width = (1 if self.index.num_vectors == 0 else self.sections[self.low_at.result].len_body // self.index.num_vectors)
            return getattr(self, '_m_low_width', None)

        @property
        def params(self):
            """The record of another section, for those whose layout depends on it."""
            if hasattr(self, '_m_params'):
                return self._m_params

            self._m_params = self.sections[self.params_at.result].body
            return getattr(self, '_m_params', None)

        @property
        def params_at(self):
            if hasattr(self, '_m_params_at'):
                return self._m_params_at

            self._m_params_at = WaterfillFormat.Search(u"PARAMS", 0, self._io, self, self._root)
            return getattr(self, '_m_params_at', None)

        @property
        def refine(self):
            if hasattr(self, '_m_refine'):
                return self._m_refine

            self._m_refine = self.sections[self.refine_at.result].body
            return getattr(self, '_m_refine', None)

        @property
        def refine_at(self):
            if hasattr(self, '_m_refine_at'):
                return self._m_refine_at

            self._m_refine_at = WaterfillFormat.Search(u"REFINE", 0, self._io, self, self._root)
            return getattr(self, '_m_refine_at', None)


    class Dead(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Dead, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.segment = self._io.read_u8le()
            self.num_vectors = self._io.read_u8le()
            self.num_dead = self._io.read_u8le()
            self.form = KaitaiStream.resolve_enum(WaterfillFormat.LabelForm, self._io.read_u4le())
            if not isinstance(self.form, WaterfillFormat.LabelForm):
                raise kaitaistruct.ValidationNotInEnumError(self.form, self._io, u"/types/dead/seq/3")
            self.reserved = self._io.read_u4le()
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/dead/seq/4")


        def _fetch_instances(self):
            pass


    class Depth(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Depth, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.refine_factor = self._io.read_u4le()
            if not self.refine_factor >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.refine_factor, self._io, u"/types/depth/seq/0")
            self.coarse_groups = self._io.read_u4le()


        def _fetch_instances(self):
            pass


    class FloatRow(KaitaiStruct):
        def __init__(self, width, _io, _parent=None, _root=None):
            super(WaterfillFormat.FloatRow, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.width = width
            self._read()

        def _read(self):
            self.values = []
            for i in range(self.width):
                self.values.append(self._io.read_f4le())



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass



    class FloatRows(KaitaiStruct):
        def __init__(self, width, _io, _parent=None, _root=None):
            super(WaterfillFormat.FloatRows, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.width = width
            self._read()

        def _read(self):
            self.rows = []
            i = 0
            while not self._io.is_eof():
                self.rows.append(WaterfillFormat.FloatRow(self.width, self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.rows)):
                pass
                self.rows[i]._fetch_instances()



    class Floats(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Floats, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.values = []
            i = 0
            while not self._io.is_eof():
                self.values.append(self._io.read_f4le())
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass



    class Folder(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Folder, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.metric = KaitaiStream.resolve_enum(WaterfillFormat.Metric, self._io.read_u4le())
            if not isinstance(self.metric, WaterfillFormat.Metric):
                raise kaitaistruct.ValidationNotInEnumError(self.metric, self._io, u"/types/folder/seq/0")
            self.d = self._io.read_u4le()
            self.number = self._io.read_u8le()
            self.log = self._io.read_u8le()
            self.next_file = self._io.read_u8le()
            self.next_id = self._io.read_s8le()
            self.nprobe = self._io.read_u4le()
            self.row_kind = KaitaiStream.resolve_enum(WaterfillFormat.FolderRowKind, self._io.read_u4le())
            if not isinstance(self.row_kind, WaterfillFormat.FolderRowKind):
                raise kaitaistruct.ValidationNotInEnumError(self.row_kind, self._io, u"/types/folder/seq/7")
            self.k_factor = self._io.read_f4le()
            if not self.k_factor >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.k_factor, self._io, u"/types/folder/seq/8")
            self.reserved = self._io.read_u4le()
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/folder/seq/9")


        def _fetch_instances(self):
            pass


    class Front(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Front, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.scale = self._io.read_f4le()
            _ = self.scale
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.scale, self._io, u"/types/front/seq/0")
            self.front_scale = self._io.read_f4le()
            _ = self.front_scale
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.front_scale, self._io, u"/types/front/seq/1")
            self.bias = self._io.read_f4le()
            self.high_nibbles = self._io.read_bytes(52)


        def _fetch_instances(self):
            pass


    class Fronts(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Fronts, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.rows = []
            for i in range(self._root.container.graph.num_vectors):
                self.rows.append(WaterfillFormat.Front(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.rows)):
                pass
                self.rows[i]._fetch_instances()



    class Graph(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Graph, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.metric = KaitaiStream.resolve_enum(WaterfillFormat.Metric, self._io.read_u4le())
            if not isinstance(self.metric, WaterfillFormat.Metric):
                raise kaitaistruct.ValidationNotInEnumError(self.metric, self._io, u"/types/graph/seq/0")
            self.d = self._io.read_u4le()
            if not self.d >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.d, self._io, u"/types/graph/seq/1")
            if not self.d <= 131072:
                raise kaitaistruct.ValidationGreaterThanError(131072, self.d, self._io, u"/types/graph/seq/1")
            self.num_links = self._io.read_u4le()
            if not self.num_links >= 2:
                raise kaitaistruct.ValidationLessThanError(2, self.num_links, self._io, u"/types/graph/seq/2")
            if not self.num_links <= 256:
                raise kaitaistruct.ValidationGreaterThanError(256, self.num_links, self._io, u"/types/graph/seq/2")
            self.ef_search = self._io.read_u4le()
            if not self.ef_search >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.ef_search, self._io, u"/types/graph/seq/3")
            self.ef_construction = self._io.read_u4le()
            if not self.ef_construction >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.ef_construction, self._io, u"/types/graph/seq/4")
            self.has_ids = self._io.read_u4le()
            if not self.has_ids <= 1:
                raise kaitaistruct.ValidationGreaterThanError(1, self.has_ids, self._io, u"/types/graph/seq/5")
            self.num_vectors = self._io.read_u8le()
            if not self.num_vectors <= 2147483647:
                raise kaitaistruct.ValidationGreaterThanError(2147483647, self.num_vectors, self._io, u"/types/graph/seq/6")


        def _fetch_instances(self):
            pass


    class High(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.High, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.blocks = []
            for i in range(self._io.size() // (32 * self._root.container.low_width)):
                self.blocks.append(self._io.read_bytes(32 * self._root.container.low_width))



        def _fetch_instances(self):
            pass
            for i in range(len(self.blocks)):
                pass



    class Idinfo(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Idinfo, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.next = self._io.read_s8le()
            self.first = self._io.read_s8le()
            self.form = KaitaiStream.resolve_enum(WaterfillFormat.IdForm, self._io.read_u4le())
            if not isinstance(self.form, WaterfillFormat.IdForm):
                raise kaitaistruct.ValidationNotInEnumError(self.form, self._io, u"/types/idinfo/seq/2")
            self.reserved = self._io.read_u4le()
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/idinfo/seq/3")


        def _fetch_instances(self):
            pass


    class Ids(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Ids, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.values = []
            i = 0
            while not self._io.is_eof():
                self.values.append(self._io.read_s8le())
                _ = self.values[i]
                if not _ != -1:
                    raise kaitaistruct.ValidationExprError(self.values[i], self._io, u"/types/ids/seq/0")
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass



    class Index(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Index, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.metric = KaitaiStream.resolve_enum(WaterfillFormat.Metric, self._io.read_u4le())
            if not isinstance(self.metric, WaterfillFormat.Metric):
                raise kaitaistruct.ValidationNotInEnumError(self.metric, self._io, u"/types/index/seq/0")
            self.uses_extra = self._io.read_u4le()
            if not self.uses_extra <= 1:
                raise kaitaistruct.ValidationGreaterThanError(1, self.uses_extra, self._io, u"/types/index/seq/1")
            self.num_vectors = self._io.read_u8le()


        def _fetch_instances(self):
            pass


    class Ivf(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Ivf, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.nprobe = self._io.read_u4le()
            if not self.nprobe >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.nprobe, self._io, u"/types/ivf/seq/0")
            self.reserved = self._io.read_u4le()
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/ivf/seq/1")


        def _fetch_instances(self):
            pass


    class Joint(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Joint, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.exponent = self._io.read_f4le()
            _ = self.exponent
            if not  ((_ > 0) and (_ <= 100)) :
                raise kaitaistruct.ValidationExprError(self.exponent, self._io, u"/types/joint/seq/0")


        def _fetch_instances(self):
            pass


    class Labbits(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Labbits, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.lists = []
            for i in range(len(self._root.container.lists.records)):
                self.lists.append(WaterfillFormat.Words(self._root.container.lists.records[i].num_words, self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.lists)):
                pass
                self.lists[i]._fetch_instances()



    class Labels(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Labels, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            if self._root.container.dead.form == WaterfillFormat.LabelForm.sorted:
                pass
                self.labels = []
                for i in range(self._root.container.dead.num_dead):
                    self.labels.append(self._io.read_u4le())


            if self._root.container.dead.form == WaterfillFormat.LabelForm.bitmap:
                pass
                self.bitmap = []
                for i in range(self._root.container.dead.num_vectors):
                    self.bitmap.append(self._io.read_bits_int_le(1) != 0)


            if self._root.container.dead.form == WaterfillFormat.LabelForm.bitmap:
                pass
                self.padding = []
                for i in range((8 - self._root.container.dead.num_vectors % 8) % 8):
                    self.padding.append(self._io.read_bits_int_le(1) != 0)
                    if not self.padding[i] == False:
                        raise kaitaistruct.ValidationNotEqualError(False, self.padding[i], self._io, u"/types/labels/seq/2")




        def _fetch_instances(self):
            pass
            if self._root.container.dead.form == WaterfillFormat.LabelForm.sorted:
                pass
                for i in range(len(self.labels)):
                    pass


            if self._root.container.dead.form == WaterfillFormat.LabelForm.bitmap:
                pass
                for i in range(len(self.bitmap)):
                    pass


            if self._root.container.dead.form == WaterfillFormat.LabelForm.bitmap:
                pass
                for i in range(len(self.padding)):
                    pass




    class Lablow(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Lablow, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.lists = []
            for i in range(len(self._root.container.lists.records)):
                self.lists.append(WaterfillFormat.ListNumbers(self._root.container.lists.records[i].num_vectors, self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.lists)):
                pass
                self.lists[i]._fetch_instances()



    class Labsamp(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Labsamp, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.lists = []
            for i in range(len(self._root.container.lists.records)):
                self.lists.append(WaterfillFormat.Words(self._root.container.lists.records[i].num_samples, self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.lists)):
                pass
                self.lists[i]._fetch_instances()



    class LinkRow(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.LinkRow, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.values = []
            for i in range(self._root.container.graph.num_links):
                self.values.append(self._io.read_u4le())
                _ = self.values[i]
                if not  ((_ < self._root.container.graph.num_vectors) or (_ == 4294967295)) :
                    raise kaitaistruct.ValidationExprError(self.values[i], self._io, u"/types/link_row/seq/0")



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass



    class Links(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Links, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.rows = []
            for i in range(self._root.container.graph.num_vectors):
                self.rows.append(WaterfillFormat.LinkRow(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.rows)):
                pass
                self.rows[i]._fetch_instances()



    class List(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.List, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.num_vectors = self._io.read_u4le()
            self.num_words = self._io.read_u4le()
            self.scale_least = self._io.read_u1()
            self.scale_largest = self._io.read_u1()
            self.extra_least = self._io.read_u1()
            self.extra_largest = self._io.read_u1()
            self.reserved = self._io.read_u4le()
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/list/seq/6")


        def _fetch_instances(self):
            pass

        @property
        def num_samples(self):
            if hasattr(self, '_m_num_samples'):
                return self._m_num_samples

            self._m_num_samples = (self.num_vectors + 63) // 64
            return getattr(self, '_m_num_samples', None)


    class ListNumbers(KaitaiStruct):
        def __init__(self, count, _io, _parent=None, _root=None):
            super(WaterfillFormat.ListNumbers, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.count = count
            self._read()

        def _read(self):
            self.values = []
            for i in range(self.count):
                _on = len(self._root.container.lists.records) > 2048
                if _on == False:
                    pass
                    self.values.append(self._io.read_u1())
                elif _on == True:
                    pass
                    self.values.append(self._io.read_u2le())



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass
                _on = len(self._root.container.lists.records) > 2048
                if _on == False:
                    pass
                elif _on == True:
                    pass



    class Lists(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Lists, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.records = []
            i = 0
            while not self._io.is_eof():
                self.records.append(WaterfillFormat.List(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.records)):
                pass
                self.records[i]._fetch_instances()



    class Log(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Log, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.major = self._io.read_u2le()
            if not self.major == 1:
                raise kaitaistruct.ValidationNotEqualError(1, self.major, self._io, u"/types/log/seq/0")
            self.minor = self._io.read_u2le()
            if not self.minor == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.minor, self._io, u"/types/log/seq/1")
            self.len_code = self._io.read_u4le()
            if not self.len_code >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.len_code, self._io, u"/types/log/seq/2")
            if not self.len_code <= 262147:
                raise kaitaistruct.ValidationGreaterThanError(262147, self.len_code, self._io, u"/types/log/seq/2")
            self.len_row = self._io.read_u4le()
            if not self.len_row <= 524288:
                raise kaitaistruct.ValidationGreaterThanError(524288, self.len_row, self._io, u"/types/log/seq/3")
            self.reserved = self._io.read_u4le()
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/log/seq/4")
            self.number = self._io.read_u8le()
            if not self.number >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.number, self._io, u"/types/log/seq/5")
            self.fingerprint = self._io.read_bytes(16)
            self.padding = self._io.read_bytes(12)
            if not self.padding == b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00":
                raise kaitaistruct.ValidationNotEqualError(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", self.padding, self._io, u"/types/log/seq/7")
            self.header_crc = self._io.read_u4le()
            if (not (self._io.is_eof())):
                pass
                self.records = []
                i = 0
                while True:
                    _ = WaterfillFormat.LogRecord(self._io, self, self._root)
                    self.records.append(_)
                    if self._io.is_eof():
                        break
                    i += 1



        def _fetch_instances(self):
            pass
            if (not (self._io.is_eof())):
                pass
                for i in range(len(self.records)):
                    pass
                    self.records[i]._fetch_instances()




    class LogRecord(KaitaiStruct):
        """A record, or the torn tail of a log that ends within a record or in zeros. Sectors that were
        not written inside the last record are found by its checksums, which are not verified here.
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.LogRecord, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            if self.is_torn:
                pass
                self.torn = self._io.read_bytes_full()

            if (not (self.is_torn)):
                pass
                self.kind = KaitaiStream.resolve_enum(WaterfillFormat.RecordKind, self._io.read_u4le())
                if not isinstance(self.kind, WaterfillFormat.RecordKind):
                    raise kaitaistruct.ValidationNotInEnumError(self.kind, self._io, u"/types/log_record/seq/1")

            if (not (self.is_torn)):
                pass
                self.num_vectors = self._io.read_u4le()

            if (not (self.is_torn)):
                pass
                self.sequence = self._io.read_u8le()

            if (not (self.is_torn)):
                pass
                self.len_contents = self._io.read_u8le()
                if not self.len_contents == self.num_vectors * self.len_vector:
                    raise kaitaistruct.ValidationNotEqualError(self.num_vectors * self.len_vector, self.len_contents, self._io, u"/types/log_record/seq/4")

            if (not (self.is_torn)):
                pass
                self.contents_crc = self._io.read_u4le()

            if (not (self.is_torn)):
                pass
                self.header_crc = self._io.read_u4le()

            if (not (self.is_torn)):
                pass
                self.ids = []
                for i in range(self.num_vectors):
                    self.ids.append(self._io.read_s8le())


            if  (((not (self.is_torn))) and (self.kind != WaterfillFormat.RecordKind.remove)) :
                pass
                self.codes = []
                for i in range(self.num_vectors):
                    self.codes.append(self._io.read_bytes(self._parent.len_code))


            if  (((not (self.is_torn))) and (self.kind != WaterfillFormat.RecordKind.remove)) :
                pass
                self.rows = []
                for i in range(self.num_vectors):
                    self.rows.append(self._io.read_bytes(self._parent.len_row))


            if (not (self.is_torn)):
                pass
                self.end_mark = self._io.read_bytes(4)
                if not self.end_mark == b"\x45\x4E\x44\x0A":
                    raise kaitaistruct.ValidationNotEqualError(b"\x45\x4E\x44\x0A", self.end_mark, self._io, u"/types/log_record/seq/10")



        def _fetch_instances(self):
            pass
            if self.is_torn:
                pass

            if (not (self.is_torn)):
                pass

            if (not (self.is_torn)):
                pass

            if (not (self.is_torn)):
                pass

            if (not (self.is_torn)):
                pass

            if (not (self.is_torn)):
                pass

            if (not (self.is_torn)):
                pass

            if (not (self.is_torn)):
                pass
                for i in range(len(self.ids)):
                    pass


            if  (((not (self.is_torn))) and (self.kind != WaterfillFormat.RecordKind.remove)) :
                pass
                for i in range(len(self.codes)):
                    pass


            if  (((not (self.is_torn))) and (self.kind != WaterfillFormat.RecordKind.remove)) :
                pass
                for i in range(len(self.rows)):
                    pass


            if (not (self.is_torn)):
                pass

            _ = self.peeked_kind
            if hasattr(self, '_m_peeked_kind'):
                pass

            _ = self.peeked_len
            if hasattr(self, '_m_peeked_len'):
                pass


        @property
        def is_torn(self):
            if hasattr(self, '_m_is_torn'):
                return self._m_is_torn

            self._m_is_torn = (True if self.room < 32 else (True if self.peeked_kind == 0 else self.room - 32 < self.peeked_len + 4))
            return getattr(self, '_m_is_torn', None)

        @property
        def len_vector(self):
            if hasattr(self, '_m_len_vector'):
                return self._m_len_vector

            self._m_len_vector = 8 + (0 if self.kind == WaterfillFormat.RecordKind.remove else self._parent.len_code + self._parent.len_row)
            return getattr(self, '_m_len_vector', None)

        @property
        def peeked_kind(self):
            if hasattr(self, '_m_peeked_kind'):
                return self._m_peeked_kind

            if self.room >= 32:
                pass
                _pos = self._io.pos()
                self._io.seek(self.start)
                self._m_peeked_kind = self._io.read_u4le()
                self._io.seek(_pos)

            return getattr(self, '_m_peeked_kind', None)

        @property
        def peeked_len(self):
            if hasattr(self, '_m_peeked_len'):
                return self._m_peeked_len

            if self.room >= 32:
                pass
                _pos = self._io.pos()
                self._io.seek(self.start + 16)
                self._m_peeked_len = self._io.read_u8le()
                self._io.seek(_pos)

            return getattr(self, '_m_peeked_len', None)

        @property
        def room(self):
            if hasattr(self, '_m_room'):
                return self._m_room

            self._m_room = self._io.size() - self.start
            return getattr(self, '_m_room', None)

        @property
        def start(self):
            """Evaluated first, before anything of the record is read."""
            if hasattr(self, '_m_start'):
                return self._m_start

            self._m_start = self._io.pos()
            return getattr(self, '_m_start', None)


    class LogScale(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.LogScale, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.low = self._io.read_f8le()
            _ = self.low
            if not  ((_ >= -1000) and (_ <= 1000)) :
                raise kaitaistruct.ValidationExprError(self.low, self._io, u"/types/log_scale/seq/0")
            self.step = self._io.read_f8le()
            _ = self.step
            if not  ((_ > 0) and (_ <= 1)) :
                raise kaitaistruct.ValidationExprError(self.step, self._io, u"/types/log_scale/seq/1")


        def _fetch_instances(self):
            pass


    class Low(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Low, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.rows = []
            for i in range(self._io.size() // self._root.container.low_width):
                self.rows.append(self._io.read_bytes(self._root.container.low_width))



        def _fetch_instances(self):
            pass
            for i in range(len(self.rows)):
                pass



    class Mark(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Mark, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.fingerprint = self._io.read_bytes(16)


        def _fetch_instances(self):
            pass


    class Measured(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Measured, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.distortion = self._io.read_f8le()
            _ = self.distortion
            if not _ > 0:
                raise kaitaistruct.ValidationExprError(self.distortion, self._io, u"/types/measured/seq/0")


        def _fetch_instances(self):
            pass


    class NextId(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.NextId, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.next = self._io.read_s8le()


        def _fetch_instances(self):
            pass


    class Numbers(KaitaiStruct):
        """Unsigned numbers of len / count bytes each."""
        def __init__(self, len, count, _io, _parent=None, _root=None):
            super(WaterfillFormat.Numbers, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.len = len
            self.count = count
            self._read()

        def _read(self):
            self.values = []
            i = 0
            while not self._io.is_eof():
                _on = (1 if self.count == 0 else self.len // self.count)
                if _on == 1:
                    pass
                    self.values.append(self._io.read_u1())
                elif _on == 2:
                    pass
                    self.values.append(self._io.read_u2le())
                else:
                    pass
                    self.values.append(self._io.read_u4le())
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass
                _on = (1 if self.count == 0 else self.len // self.count)
                if _on == 1:
                    pass
                elif _on == 2:
                    pass
                else:
                    pass



    class Octets(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Octets, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.values = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass


    class Params(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Params, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.d = self._io.read_u4le()
            if not self.d >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.d, self._io, u"/types/params/seq/0")
            if not self.d <= 131072:
                raise kaitaistruct.ValidationGreaterThanError(131072, self.d, self._io, u"/types/params/seq/0")
            self.num_coded = self._io.read_u4le()
            if not self.num_coded >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.num_coded, self._io, u"/types/params/seq/1")
            if not self.num_coded <= 2 * self.d:
                raise kaitaistruct.ValidationGreaterThanError(2 * self.d, self.num_coded, self._io, u"/types/params/seq/1")
            self.num_groups = self._io.read_u4le()
            if not self.num_groups >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.num_groups, self._io, u"/types/params/seq/2")
            if not self.num_groups <= self.num_coded:
                raise kaitaistruct.ValidationGreaterThanError(self.num_coded, self.num_groups, self._io, u"/types/params/seq/2")
            self.normalize = self._io.read_u4le()
            if not self.normalize <= 1:
                raise kaitaistruct.ValidationGreaterThanError(1, self.normalize, self._io, u"/types/params/seq/3")
            self.alpha_ip = self._io.read_u4le()
            if not self.alpha_ip <= 4:
                raise kaitaistruct.ValidationGreaterThanError(4, self.alpha_ip, self._io, u"/types/params/seq/4")
            self.alpha_l2 = self._io.read_u4le()
            if not self.alpha_l2 <= 4:
                raise kaitaistruct.ValidationGreaterThanError(4, self.alpha_l2, self._io, u"/types/params/seq/5")
            self.depth_ip = WaterfillFormat.Depth(self._io, self, self._root)
            self.depth_l2 = WaterfillFormat.Depth(self._io, self, self._root)
            self.scale = WaterfillFormat.LogScale(self._io, self, self._root)
            self.extra = WaterfillFormat.LogScale(self._io, self, self._root)
            self.constant_norm = self._io.read_f8le()
            _ = self.constant_norm
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.constant_norm, self._io, u"/types/params/seq/10")
            self.classic_multiplier = self._io.read_f8le()
            _ = self.classic_multiplier
            if not _ >= 0:
                raise kaitaistruct.ValidationExprError(self.classic_multiplier, self._io, u"/types/params/seq/11")


        def _fetch_instances(self):
            pass
            self.depth_ip._fetch_instances()
            self.depth_l2._fetch_instances()
            self.scale._fetch_instances()
            self.extra._fetch_instances()


    class Probes(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Probes, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.num_shares = self._io.read_u4le()
            if not self.num_shares <= 16:
                raise kaitaistruct.ValidationGreaterThanError(16, self.num_shares, self._io, u"/types/probes/seq/0")
            self.decay_ip = self._io.read_f4le()
            _ = self.decay_ip
            if not  ((_ >= 0) and (_ <= 1)) :
                raise kaitaistruct.ValidationExprError(self.decay_ip, self._io, u"/types/probes/seq/1")
            self.decay_l2 = self._io.read_f4le()
            _ = self.decay_l2
            if not  ((_ >= 0) and (_ <= 1)) :
                raise kaitaistruct.ValidationExprError(self.decay_l2, self._io, u"/types/probes/seq/2")
            self.missed_ip = []
            for i in range(self.num_shares):
                self.missed_ip.append(WaterfillFormat.Share(self._io, self, self._root))

            self.missed_l2 = []
            for i in range(self.num_shares):
                self.missed_l2.append(WaterfillFormat.Share(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.missed_ip)):
                pass
                self.missed_ip[i]._fetch_instances()

            for i in range(len(self.missed_l2)):
                pass
                self.missed_l2[i]._fetch_instances()



    class Refine(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Refine, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.kind = KaitaiStream.resolve_enum(WaterfillFormat.RowKind, self._io.read_u4le())
            if not isinstance(self.kind, WaterfillFormat.RowKind):
                raise kaitaistruct.ValidationNotInEnumError(self.kind, self._io, u"/types/refine/seq/0")
            self.k_factor = self._io.read_f4le()
            if not self.k_factor >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.k_factor, self._io, u"/types/refine/seq/1")


        def _fetch_instances(self):
            pass


    class RefineRow(KaitaiStruct):
        def __init__(self, len, _io, _parent=None, _root=None):
            super(WaterfillFormat.RefineRow, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.len = len
            self._read()

        def _read(self):
            if self._root.container.refine.kind == WaterfillFormat.RowKind.int8:
                pass
                self.middle = self._io.read_f4le()

            if self._root.container.refine.kind == WaterfillFormat.RowKind.int8:
                pass
                self.step = self._io.read_f4le()

            self.values = []
            i = 0
            while not self._io.is_eof():
                _on = self._root.container.refine.kind
                if _on == WaterfillFormat.RowKind.float16:
                    pass
                    self.values.append(self._io.read_u2le())
                elif _on == WaterfillFormat.RowKind.float32:
                    pass
                    self.values.append(self._io.read_f4le())
                elif _on == WaterfillFormat.RowKind.int8:
                    pass
                    self.values.append(self._io.read_s1())
                i += 1



        def _fetch_instances(self):
            pass
            if self._root.container.refine.kind == WaterfillFormat.RowKind.int8:
                pass

            if self._root.container.refine.kind == WaterfillFormat.RowKind.int8:
                pass

            for i in range(len(self.values)):
                pass
                _on = self._root.container.refine.kind
                if _on == WaterfillFormat.RowKind.float16:
                    pass
                elif _on == WaterfillFormat.RowKind.float32:
                    pass
                elif _on == WaterfillFormat.RowKind.int8:
                    pass



    class Remain(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Remain, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.low_nibbles = self._io.read_bytes(52)
            self.octets = self._io.read_bytes((self._root.container.graph.d - 104 if self._root.container.graph.d > 104 else 0))


        def _fetch_instances(self):
            pass


    class Remains(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Remains, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.rows = []
            for i in range(self._root.container.graph.num_vectors):
                self.rows.append(WaterfillFormat.Remain(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.rows)):
                pass
                self.rows[i]._fetch_instances()



    class Rests(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Rests, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.second_bytes = []
            i = 0
            while not self._io.is_eof():
                self.second_bytes.append(WaterfillFormat.SecondByte(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.second_bytes)):
                pass
                self.second_bytes[i]._fetch_instances()



    class Rows(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Rows, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self._raw_rows = []
            self.rows = []
            for i in range((0 if self._io.size() == 0 else self._io.size() // (self._io.size() // self._root.container.index.num_vectors))):
                self._raw_rows.append(self._io.read_bytes(self._io.size() // self._root.container.index.num_vectors))
                _io__raw_rows = KaitaiStream(BytesIO(self._raw_rows[i]))
                self.rows.append(WaterfillFormat.RefineRow(self._io.size() // self._root.container.index.num_vectors, _io__raw_rows, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.rows)):
                pass
                self.rows[i]._fetch_instances()



    class Search(KaitaiStruct):
        """The number of the section with a tag; an error if there is none."""
        def __init__(self, tag, number, _io, _parent=None, _root=None):
            super(WaterfillFormat.Search, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.tag = tag
            self.number = number
            self._read()

        def _read(self):
            pass


        def _fetch_instances(self):
            pass
            _ = self.next
            if hasattr(self, '_m_next'):
                pass
                self._m_next._fetch_instances()


        @property
        def is_here(self):
            if hasattr(self, '_m_is_here'):
                return self._m_is_here

            self._m_is_here = self._root.container.sections[self.number].tag == self.tag
            return getattr(self, '_m_is_here', None)

        @property
        def next(self):
            if hasattr(self, '_m_next'):
                return self._m_next

            if (not (self.is_here)):
                pass
                self._m_next = WaterfillFormat.Search(self.tag, self.number + 1, self._io, self, self._root)

            return getattr(self, '_m_next', None)

        @property
        def result(self):
            if hasattr(self, '_m_result'):
                return self._m_result

            self._m_result = (self.number if self.is_here else self.next.result)
            return getattr(self, '_m_result', None)


    class SecondByte(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.SecondByte, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.column = self._io.read_u4le()
            self.first_column = self._io.read_u4le()


        def _fetch_instances(self):
            pass


    class Section(KaitaiStruct):
        def __init__(self, number, _io, _parent=None, _root=None):
            super(WaterfillFormat.Section, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.number = number
            self._read()

        def _read(self):
            self.tag = (KaitaiStream.bytes_terminate(self._io.read_bytes(8), 0, False)).decode(u"ASCII")
            self.offset = self._io.read_u8le()
            _ = self.offset
            if not  ((_ % 64 == 0) and (_ >= self.end_before) and (_ - self.end_before < 64)) :
                raise kaitaistruct.ValidationExprError(self.offset, self._io, u"/types/section/seq/1")
            self.len_body = self._io.read_u8le()
            self.crc = self._io.read_u4le()
            self.can_be_skipped = self._io.read_bits_int_le(1) != 0
            self.flags = self._io.read_bits_int_le(31)


        def _fetch_instances(self):
            pass
            _ = self.body
            if hasattr(self, '_m_body'):
                pass
                _on = self.tag
                if _on == u"BASIS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"BOOKS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"CELLRULE":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"CELLS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"CELLSPEC":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"CENTROID":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"CODECS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"DEAD":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"EXTRA":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"FOLDER":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"FRONTS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"GRAPH":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"HIGH":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"IDINFO":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"IDORDER":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"IDS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"INDEX":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"IVF":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"JOINT":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LABBITS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LABELS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LABLOW":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LABSAMP":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LINKS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LISTOF":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LISTS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"LOW":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"MANIFEST":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"MEAN":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"MEASURED":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"NEXTID":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"PARAMS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"PLAN":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"PROBES":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"QUANT":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"REFINE":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"REMAINS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"RESTS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"ROWS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"SCALE":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"SEGMENT":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"SEGMENTS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"SHAPES":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"STEPS":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"TARGET":
                    pass
                    self._m_body._fetch_instances()
                elif _on == u"WEIGHTS":
                    pass
                    self._m_body._fetch_instances()
                else:
                    pass
                    self._m_body._fetch_instances()

            _ = self.bytes
            if hasattr(self, '_m_bytes'):
                pass

            _ = self.padding
            if hasattr(self, '_m_padding'):
                pass


        @property
        def body(self):
            if hasattr(self, '_m_body'):
                return self._m_body

            io = self._root._io
            _pos = io.pos()
            io.seek(self.offset)
            _on = self.tag
            if _on == u"BASIS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.FloatRows(self._root.container.d, _io__raw__m_body, self, self._root)
            elif _on == u"BOOKS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.FloatRows(256, _io__raw__m_body, self, self._root)
            elif _on == u"CELLRULE":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Cellrule(_io__raw__m_body, self, self._root)
            elif _on == u"CELLS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.FloatRows(16, _io__raw__m_body, self, self._root)
            elif _on == u"CELLSPEC":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Cellspec(_io__raw__m_body, self, self._root)
            elif _on == u"CENTROID":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.FloatRows(self._root.container.params.d, _io__raw__m_body, self, self._root)
            elif _on == u"CODECS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Codecs(_io__raw__m_body, self, self._root)
            elif _on == u"DEAD":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Dead(_io__raw__m_body, self, self._root)
            elif _on == u"EXTRA":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Octets(_io__raw__m_body, self, self._root)
            elif _on == u"FOLDER":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Folder(_io__raw__m_body, self, self._root)
            elif _on == u"FRONTS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Fronts(_io__raw__m_body, self, self._root)
            elif _on == u"GRAPH":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Graph(_io__raw__m_body, self, self._root)
            elif _on == u"HIGH":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.High(_io__raw__m_body, self, self._root)
            elif _on == u"IDINFO":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Idinfo(_io__raw__m_body, self, self._root)
            elif _on == u"IDORDER":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Numbers(4, 1, _io__raw__m_body, self, self._root)
            elif _on == u"IDS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Ids(_io__raw__m_body, self, self._root)
            elif _on == u"INDEX":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Index(_io__raw__m_body, self, self._root)
            elif _on == u"IVF":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Ivf(_io__raw__m_body, self, self._root)
            elif _on == u"JOINT":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Joint(_io__raw__m_body, self, self._root)
            elif _on == u"LABBITS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Labbits(_io__raw__m_body, self, self._root)
            elif _on == u"LABELS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Labels(_io__raw__m_body, self, self._root)
            elif _on == u"LABLOW":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Lablow(_io__raw__m_body, self, self._root)
            elif _on == u"LABSAMP":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Labsamp(_io__raw__m_body, self, self._root)
            elif _on == u"LINKS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Links(_io__raw__m_body, self, self._root)
            elif _on == u"LISTOF":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Numbers(self.len_body, self._root.container.index.num_vectors, _io__raw__m_body, self, self._root)
            elif _on == u"LISTS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Lists(_io__raw__m_body, self, self._root)
            elif _on == u"LOW":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Low(_io__raw__m_body, self, self._root)
            elif _on == u"MANIFEST":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Text(_io__raw__m_body, self, self._root)
            elif _on == u"MEAN":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Floats(_io__raw__m_body, self, self._root)
            elif _on == u"MEASURED":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Measured(_io__raw__m_body, self, self._root)
            elif _on == u"NEXTID":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.NextId(_io__raw__m_body, self, self._root)
            elif _on == u"PARAMS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Params(_io__raw__m_body, self, self._root)
            elif _on == u"PLAN":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Text(_io__raw__m_body, self, self._root)
            elif _on == u"PROBES":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Probes(_io__raw__m_body, self, self._root)
            elif _on == u"QUANT":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Octets(_io__raw__m_body, self, self._root)
            elif _on == u"REFINE":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Refine(_io__raw__m_body, self, self._root)
            elif _on == u"REMAINS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Remains(_io__raw__m_body, self, self._root)
            elif _on == u"RESTS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Rests(_io__raw__m_body, self, self._root)
            elif _on == u"ROWS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Rows(_io__raw__m_body, self, self._root)
            elif _on == u"SCALE":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Octets(_io__raw__m_body, self, self._root)
            elif _on == u"SEGMENT":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Mark(_io__raw__m_body, self, self._root)
            elif _on == u"SEGMENTS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Segments(_io__raw__m_body, self, self._root)
            elif _on == u"SHAPES":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Shapes(_io__raw__m_body, self, self._root)
            elif _on == u"STEPS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Steps(_io__raw__m_body, self, self._root)
            elif _on == u"TARGET":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Target(_io__raw__m_body, self, self._root)
            elif _on == u"WEIGHTS":
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Weights(_io__raw__m_body, self, self._root)
            else:
                pass
                self._raw__m_body = io.read_bytes(self.len_body)
                _io__raw__m_body = KaitaiStream(BytesIO(self._raw__m_body))
                self._m_body = WaterfillFormat.Octets(_io__raw__m_body, self, self._root)
            io.seek(_pos)
            return getattr(self, '_m_body', None)

        @property
        def bytes(self):
            if hasattr(self, '_m_bytes'):
                return self._m_bytes

            io = self._root._io
            _pos = io.pos()
            io.seek(self.offset)
            self._m_bytes = io.read_bytes(self.len_body)
            io.seek(_pos)
            return getattr(self, '_m_bytes', None)

        @property
        def end(self):
            if hasattr(self, '_m_end'):
                return self._m_end

            self._m_end = self.offset + self.len_body
            return getattr(self, '_m_end', None)

        @property
        def end_before(self):
            if hasattr(self, '_m_end_before'):
                return self._m_end_before

            self._m_end_before = (self._parent.end_of_table if self.number == 0 else self._parent.sections[self.number - 1].end)
            return getattr(self, '_m_end_before', None)

        @property
        def padding(self):
            """The zeros before the section."""
            if hasattr(self, '_m_padding'):
                return self._m_padding

            io = self._root._io
            _pos = io.pos()
            io.seek(self.end_before)
            self._m_padding = io.read_bytes(self.offset - self.end_before)
            io.seek(_pos)
            return getattr(self, '_m_padding', None)


    class SegmentEntry(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.SegmentEntry, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.number = self._io.read_u8le()
            self.num_vectors = self._io.read_u8le()
            self.len_file = self._io.read_u8le()
            self.codec = self._io.read_u8le()
            self.tombstones = self._io.read_u8le()
            self.num_dead = self._io.read_u8le()
            self.crc = self._io.read_u4le()
            self.tombstones_crc = self._io.read_u4le()


        def _fetch_instances(self):
            pass


    class Segments(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Segments, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.records = []
            i = 0
            while not self._io.is_eof():
                self.records.append(WaterfillFormat.SegmentEntry(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.records)):
                pass
                self.records[i]._fetch_instances()



    class Shape(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Shape, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.num_dimensions = self._io.read_u4le()
            if not self.num_dimensions >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.num_dimensions, self._io, u"/types/shape/seq/0")
            self.kind = KaitaiStream.resolve_enum(WaterfillFormat.GroupKind, self._io.read_u4le())
            if not isinstance(self.kind, WaterfillFormat.GroupKind):
                raise kaitaistruct.ValidationNotInEnumError(self.kind, self._io, u"/types/shape/seq/1")


        def _fetch_instances(self):
            pass


    class Shapes(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Shapes, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.groups = []
            i = 0
            while not self._io.is_eof():
                self.groups.append(WaterfillFormat.Shape(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.groups)):
                pass
                self.groups[i]._fetch_instances()



    class Share(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Share, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.share = self._io.read_f4le()
            _ = self.share
            if not  ((_ >= 0) and (_ <= 1)) :
                raise kaitaistruct.ValidationExprError(self.share, self._io, u"/types/share/seq/0")


        def _fetch_instances(self):
            pass


    class Steps(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Steps, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.values = []
            i = 0
            while not self._io.is_eof():
                self.values.append(self._io.read_f4le())
                _ = self.values[i]
                if not _ > 0:
                    raise kaitaistruct.ValidationExprError(self.values[i], self._io, u"/types/steps/seq/0")
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass



    class Target(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Target, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.recall = self._io.read_f8le()
            _ = self.recall
            if not  ((_ > 0) and (_ <= 1)) :
                raise kaitaistruct.ValidationExprError(self.recall, self._io, u"/types/target/seq/0")


        def _fetch_instances(self):
            pass


    class Text(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Text, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.json = (self._io.read_bytes_full()).decode(u"UTF-8")


        def _fetch_instances(self):
            pass


    class Weights(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(WaterfillFormat.Weights, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.values = []
            i = 0
            while not self._io.is_eof():
                self.values.append(self._io.read_f4le())
                _ = self.values[i]
                if not  ((_ > 0) and (_ <= 1E+30)) :
                    raise kaitaistruct.ValidationExprError(self.values[i], self._io, u"/types/weights/seq/0")
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass



    class Words(KaitaiStruct):
        def __init__(self, count, _io, _parent=None, _root=None):
            super(WaterfillFormat.Words, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.count = count
            self._read()

        def _read(self):
            self.values = []
            for i in range(self.count):
                self.values.append(self._io.read_u8le())



        def _fetch_instances(self):
            pass
            for i in range(len(self.values)):
                pass
