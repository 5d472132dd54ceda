#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <cerrno>
#include <system_error>

#include "file/system_files.hpp"
#include "waterfill/file/mapped_file.hpp"

namespace waterfill {
namespace {

// The errno of an error of Windows, by which Python chooses the subclass of OSError.
int error_number(DWORD error) {
  switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
      return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
      return EACCES;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      return ENOSPC;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_COMMITMENT_LIMIT:
      return ENOMEM;
    case ERROR_INVALID_HANDLE:
      return EBADF;
    case ERROR_BROKEN_PIPE:
      return EPIPE;
    default:
      return EIO;
  }
}

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  throw FileError(error_number(::GetLastError()), what, path);
}

HANDLE native(FileHandle file) {
  return reinterpret_cast<HANDLE>(file);
}

// A handle that is closed at the end of a scope.
struct Handle {
  explicit Handle(HANDLE opened) : value(opened) {}
  ~Handle() {
    if (is_open()) ::CloseHandle(value);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  bool is_open() const { return value != nullptr && value != INVALID_HANDLE_VALUE; }
  HANDLE value;
};

// Python passes paths in UTF-8.
std::wstring wide(const std::string& path) {
  const auto size = static_cast<int>(path.size());
  const int length = ::MultiByteToWideChar(CP_UTF8, 0, path.data(), size, nullptr, 0);
  std::wstring text(static_cast<std::size_t>(length), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, path.data(), size, text.data(), length);
  return text;
}

// Others may read the file, write it, rename it and remove it, as on other systems.
HANDLE open_shared(const std::string& path) {
  return ::CreateFileW(wide(path).c_str(), GENERIC_READ,
                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                       OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
}

bool is_directory(const std::string& path) {
  const DWORD attributes = ::GetFileAttributesW(wide(path).c_str());
  return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

OVERLAPPED at(std::uint64_t offset) {
  OVERLAPPED place{};
  place.Offset = static_cast<DWORD>(offset);
  place.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return place;
}

}  // namespace

FileHandle open_to_read(const std::string& path) {
  if (is_directory(path)) throw FileError(EISDIR, "cannot read", path);
  const HANDLE file = open_shared(path);
  if (file == INVALID_HANDLE_VALUE) fail("cannot open", path);
  return reinterpret_cast<FileHandle>(file);
}

void close_file(FileHandle file) noexcept {
  ::CloseHandle(native(file));
}

std::uint64_t file_size(FileHandle file, const std::string& path) {
  LARGE_INTEGER size;
  if (!::GetFileSizeEx(native(file), &size)) fail("cannot read", path);
  return static_cast<std::uint64_t>(size.QuadPart);
}

std::size_t read_at(FileHandle file, std::uint64_t offset, void* out, std::size_t size,
                    const std::string& path) {
  OVERLAPPED place = at(offset);
  DWORD done = 0;
  if (!::ReadFile(native(file), out, static_cast<DWORD>(size), &done, &place) &&
      ::GetLastError() != ERROR_HANDLE_EOF) {
    fail("cannot read", path);
  }
  return done;
}

std::size_t write_some(FileHandle file, const void* data, std::size_t size,
                       const std::string& path) {
  DWORD done = 0;
  if (!::WriteFile(native(file), data, static_cast<DWORD>(size), &done, nullptr)) {
    fail("cannot write", path);
  }
  return done;
}

void set_position(FileHandle file, std::uint64_t offset, const std::string& path) {
  LARGE_INTEGER place;
  place.QuadPart = static_cast<LONGLONG>(offset);
  if (!::SetFilePointerEx(native(file), place, nullptr, FILE_BEGIN)) fail("cannot seek in", path);
}

// The rest of a file's last page is zeros. Where that is less than kernels may read, the file is
// copied to memory: Windows maps nothing right behind a file.
MappedFile::MappedFile(const std::string& path) {
  constexpr std::size_t kPage = 4096, kBehind = 64;
  if (is_directory(path)) throw FileError(EINVAL, "cannot map", path);
  const Handle file(open_shared(path));
  if (!file.is_open()) fail("cannot open", path);
  if (::GetFileType(file.value) != FILE_TYPE_DISK) throw FileError(EINVAL, "cannot map", path);
  const auto opened = reinterpret_cast<FileHandle>(file.value);
  size_ = static_cast<std::size_t>(file_size(opened, path));
  if (const std::size_t last = size_ % kPage; last > 0 && kPage - last >= kBehind) {
    const Handle map(::CreateFileMappingW(file.value, nullptr, PAGE_READONLY, 0, 0, nullptr));
    if (!map.is_open()) fail("cannot map", path);
    data_ = static_cast<std::uint8_t*>(::MapViewOfFile(map.value, FILE_MAP_READ, 0, 0, 0));
    if (data_ == nullptr) fail("cannot map", path);
    return;
  }
  reserved_ = size_ + kPage;
  data_ = static_cast<std::uint8_t*>(
      ::VirtualAlloc(nullptr, reserved_, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  if (data_ == nullptr) fail("cannot map", path);
  try {
    read_exactly(opened, 0, data_, size_, path);
  } catch (...) {
    ::VirtualFree(data_, 0, MEM_RELEASE);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (reserved_ > 0) {
    ::VirtualFree(data_, 0, MEM_RELEASE);
  } else {
    ::UnmapViewOfFile(data_);
  }
}

}  // namespace waterfill
